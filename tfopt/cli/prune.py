"""`tfopt prune`."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from typing import Any, Literal

import click

from tfopt import errors, files
from tfopt.cli import options, terminal
from tfopt.loading.options import LoadOptions
from tfopt.progress import Progress
from tfopt.reporting import report, summary
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


@click.command()
@click.argument("model")
@click.option("-o", "--output", required=True, metavar="OUT.keras", help="The pruned model, .keras or .h5.")
@click.option("--sparsity", type=float, help="Fraction of zeros, such as 0.8.")
@click.option("--threshold", type=float, help="Instead: weights up to this magnitude become zero.")
@click.option("--block", type=int, nargs=2, metavar="ROWS COLUMNS", help="Prune blocks of this size.")
@click.option("--n-by-m", type=int, nargs=2, metavar="N M", help="Leave at most N of every M weights, such as 2 4.")
@click.option(
    "--scope",
    type=click.Choice(["layer", "global"]),
    default="layer",
    show_default=True,
    help="Reach the sparsity in each layer, or in all layers together.",
)
@click.option("--include", multiple=True, metavar="GLOB", help="Layers to prune, by name or path. Default: the usual kernels.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Layers to leave as they are.")
@options.loading
@click.option("--force", is_flag=True, help="Overwrite the output.")
@options.printing
def prune(
    output: str, custom_objects: str | None, architecture: str | None, allow_unsafe: bool, force: bool, as_json: bool, quiet: bool,
    verbose: bool, **request: Any,
) -> None:  # fmt: skip
    """Set the weights of least magnitude to zero, without training, and tell what that brings.

    \b
    tfopt prune model.h5 -o pruned.keras --sparsity 0.5
    """
    path = pathlib.Path(output)
    if path.suffix not in (".keras", ".h5"):
        raise errors.ArgumentError(f"The output must be a .keras or .h5 file. Received: {path}.")
    asked = PruneRequest(
        **request, loading=LoadOptions(custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe)
    )
    files.require_writable([path], overwrite=force)
    with tempfile.TemporaryDirectory(prefix="tfopt-") as folder:
        asked = dataclasses.replace(asked, staging=str(pathlib.Path(folder) / f"model{path.suffix}"))
        found = options.run_in_child("tfopt.cli.prune:prune_file", asked, show_progress=not (quiet or as_json), verbose=verbose)
        files.write({path: pathlib.Path(asked.staging).read_bytes()}, overwrite=force)
    if as_json:
        terminal.print_json({**found, "written": str(path)})
    elif not quiet:
        terminal.print_blocks(summary.of_pruning(found))
        print(f"Written: {path}")


def prune_file(request: str, progress: Progress) -> dict[str, Any]:
    """Loads, prunes and saves a model, in the child process.

    Args:
        request: a `PruneRequest` as JSON.
        progress: called with {"stage"}.

    Returns:
        The `SparsityReport` as JSON types, with "sparsity" and "skipped" (weight name -> reason).
    """
    import tfopt
    from tfopt.loading.load import load_with_steps
    from tfopt.pruning.prunable_weights import find_targets

    asked = PruneRequest.from_json(request)
    progress({"stage": "load"})
    model, _ = load_with_steps(asked.model, asked.loading)
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
