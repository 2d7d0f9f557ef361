"""Prune a model file, in the child process of `tfopt prune`."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from tfopt import errors
from tfopt.loading.options import LoadOptions
from tfopt.progress import Progress
from tfopt.reporting import report
from tfopt.request import Request


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneRequest(Request):
    """A model file to prune; the options are those of the command."""

    model: str
    staging: str = ""  # the path that the pruned model is written to
    sparsity: float | None
    threshold: float | None
    block: tuple[int, int] | None
    n_by_m: tuple[int, int] | None
    scope: Literal["layer", "global"]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    loading: LoadOptions

    def __post_init__(self) -> None:
        if self.block and self.n_by_m:
            raise errors.ArgumentError("a model is pruned by one pattern. Received: --block and --n-by-m. Give one of them.")


def prune_file(request: str, progress: Progress) -> dict[str, Any]:
    """Loads, prunes and saves a model, in the child process.

    Args:
        request: a `PruneRequest` as JSON.
        progress: called with {"stage"}.

    Returns:
        The `SparsityReport` as JSON types, with "sparsity" and "skipped" (weight name -> reason).
    """
    import tfopt
    from tfopt.loading.load import load_file
    from tfopt.pruning.prunable_weights import find_targets

    asked = PruneRequest.from_json(request)
    progress({"stage": "load"})
    model = load_file(asked.model, asked.loading).model
    progress({"stage": "prune"})
    pattern: Any = tfopt.Unstructured()
    if asked.block:
        pattern = tfopt.Block(asked.block)
    elif asked.n_by_m:
        pattern = tfopt.NByM(*asked.n_by_m)
    include, exclude = list(asked.include) or None, list(asked.exclude) or None
    pruned = tfopt.prune(
        model, asked.sparsity, threshold=asked.threshold, pattern=pattern, scope=asked.scope, include=include, exclude=exclude
    )
    _, skipped = find_targets(model, pattern, include, exclude)
    progress({"stage": "save"})
    pruned.save(asked.staging)
    found = tfopt.sparsity_report(pruned)
    return {**report.to_dict(found), "sparsity": found.sparsity, "skipped": skipped}
