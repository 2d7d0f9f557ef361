"""What the callback and the one-shot function check alike."""

import collections.abc

from tfopt import errors
from tfopt.pruning import masks


def as_plan(sparsity):
    """The sparsity as a dict of layer name -> fraction, or None where it is one number."""
    return dict(sparsity) if isinstance(sparsity, collections.abc.Mapping) else None


def check_options(pattern, scope):
    """Raises unless the pattern and the scope are known ones."""
    if not isinstance(pattern, masks.Unstructured | masks.Block | masks.NByM):
        raise errors.ArgumentError(
            "pattern must be tfopt.Unstructured(), tfopt.Block((rows, columns)) or tfopt.NByM(n, m). "
            f"Received: pattern={pattern!r}."
        )
    if scope not in ("layer", "global"):
        raise errors.ArgumentError(f"scope must be 'layer' or 'global'. Received: scope={scope!r}.")


def check_final(sparsity, pattern, scope):
    """Raises unless the pattern and the scope can end with this sparsity."""
    plan = as_plan(sparsity)
    if plan and scope == "global":
        raise errors.ArgumentError("a plan gives each layer its sparsity, so scope must be 'layer'. Received: scope='global'.")
    if isinstance(pattern, masks.NByM):
        for value in plan.values() if plan else [sparsity]:
            if abs(value - pattern.sparsity) > 1e-9:
                raise errors.ArgumentError(
                    f"{pattern} ends with a sparsity of {pattern.sparsity:g} and no other. Received: {value!r}."
                )
