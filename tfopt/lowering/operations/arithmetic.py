"""Rules for arithmetic whose operation has no int8 kernel, though the same number comes from others that have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule


def _negation(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`-x = x * -1`; integers stay, and so does the negation in an exact GELU, by which the converter knows it."""
    (old,) = operation.inputs
    followers = [each for output in operation.outputs for each in output.consumers()]
    if not old.dtype.is_floating or _leads_to_erfc(followers):
        return None
    return find(old) * -1.0


def _leads_to_erfc(operations: list[tf.Operation]) -> bool:
    """Whether one of the operations, or the one after a product, is ERFC."""
    after = [each for operation in operations if operation.type == "Mul" for each in operation.outputs[0].consumers()]
    return any(each.type == "Erfc" for each in (*operations, *after))


def _square(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`x^2 = x x`."""
    (old,) = operation.inputs
    return find(old) * find(old) if old.dtype.is_floating else None


ARITHMETIC: dict[str, dict[str, Rule]] = {"negation": {"Neg": _negation}, "square": {"Square": _square}}
