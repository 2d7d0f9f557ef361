"""A quantization-aware model on its way into a file: the form that is converted, its float twin, and its missing ranges."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from tfopt.errors import DataError
from tfopt.keras2.strip import strip
from tfopt.keras2.tfmot_layers import has_quantizers, unseen_quantizers
from tfopt.keras_model.walk import walk_layers
from tfopt.quantization import quantize_aware
from tfopt.quantization.bake import baked, quantization_layers
from tfopt.quantization.fake_quantize import FakeQuantize
from tfopt.quantization.layer_kinds import is_recurrent
from tfopt.quantization.report import LEFT_OUT, quantization_report
from tfopt.tflite import op_audit
from tfopt.tflite.layer_names import NO_SCOPES, Scopes

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyModel
    from tfopt.tflite.interpreter import Interpreter

# Operations of attention, and of normalization of each sample. The normalization divides by a number that int8 knows to a few
# percent, so that a step of difference before it becomes several.
_NORMALIZING = {"BATCH_MATMUL", "RSQRT"}


ERROR_LIMITS: dict[str, float] = {"recurrent": 12.0, "normalizing": 8.0, "plain": 4.0}
"""Kind of network -> steps of an output by which 99.9 % of its values may differ between the file and the model."""


@dataclasses.dataclass(frozen=True)
class ErrorLimit:
    """How far an output of an int8 file may be from its quantization-aware model.

    Attributes:
        steps: of the output's scale, which 99.9 % of the values must not exceed.
        kind: one of `ERROR_LIMITS`; empty if the caller gave the limit.
    """

    steps: float
    kind: str

    def __str__(self) -> str:
        """The limit in words, for a reason of a check."""
        kinds = {
            "recurrent": "a network with recurrent layers",
            "normalizing": "a network with attention or with normalization of each sample",
            "plain": "a network without recurrent layers, attention, and normalization of each sample",
        }
        return f"no more than {self.steps:g} is allowed" + (f" for {kinds[self.kind]}" if self.kind else "")


def error_limit(model: AnyModel, interpreter: Interpreter, steps: float | None = None) -> ErrorLimit | None:
    """How far the outputs of the int8 file may be from a model; None if there is no limit.

    There is none for a model that is not quantization-aware, and none by kind for one in which layers were left out: they are float
    in the model, and int8 in the file.

    Args:
        model: of either Keras generation.
        interpreter: of the file.
        steps: the limit; None for that of the kind of network.
    """
    if not is_quantization_aware(model):
        return None
    if steps is not None:
        return ErrorLimit(steps, "")
    if not has_quantizers(model) and any(row.reason == LEFT_OUT for row in quantization_report(model).weights):
        return None
    if any(is_recurrent(layer) for layer in walk_layers(model)):
        kind = "recurrent"
    else:
        kind = "plain" if _NORMALIZING.isdisjoint(operator.name for operator in interpreter.graph.operators) else "normalizing"
    return ErrorLimit(ERROR_LIMITS[kind], kind)


def is_quantization_aware(model: AnyModel) -> bool:
    """Whether a model of either Keras generation rounds as it trains."""
    return has_quantizers(model) or quantize_aware.is_quantization_aware(model)


def served(model: AnyModel, has_data: bool) -> AnyModel:
    """The model that is converted instead of a quantization-aware one, with the same outputs.

    Args:
        model: quantization-aware, of either Keras generation.
        has_data: whether there are representative data.

    Raises:
        DataError: ranges are missing that training did not reach, and no data can provide them.
    """
    if has_quantizers(model):
        unseen = unseen_quantizers(model)
        if unseen:  # data would not help: the model's fake quantization would cut values off there
            raise DataError(
                f"Training must have reached all ranges. Received: no range for {', '.join(unseen)}. Train the model with fit, or "
                "convert tfopt.legacy.strip(model) with representative data."
            )
        return model
    without_range = quantization_report(model).unseen
    if without_range and not has_data:
        raise DataError(_uncovered(without_range) if _is_trained(model) else _untrained(without_range))
    return baked(model)


def float_twin(model: AnyModel) -> AnyModel:
    """The plain model of a quantization-aware one; its float32 file is the one to compare speed and size with."""
    return strip(model) if has_quantizers(model) else quantize_aware.strip_quantization(model)


def covers(interpreter: Interpreter, layer_names: Collection[str], scopes: Scopes = NO_SCOPES) -> bool:
    """Whether all operations of a file that was made without representative data have ranges; arguments as `require_covered`."""
    return not op_audit.examine(interpreter, layer_names, "int8", scopes).float_ops


def require_covered(interpreter: Interpreter, layer_names: Collection[str], scopes: Scopes = NO_SCOPES) -> None:
    """Raises `DataError` if a file that was made without representative data has operations without a range.

    Args:
        interpreter: of the file.
        layer_names: names of the model's layers.
        scopes: of a trace of the model.
    """
    ops = op_audit.examine(interpreter, layer_names, "int8", scopes).float_ops
    if ops:
        raise DataError(_uncovered(dict.fromkeys(f"{op.op} of {op.layer!r}" if op.layer else op.tensor for op in ops)))


def _is_trained(model: AnyModel) -> bool:
    """Whether a batch has set any of the ranges that batches set."""
    quantizers = [layer for layer in quantization_layers(model) if isinstance(layer, FakeQuantize)]
    return any(layer.range is not None for layer in quantizers if layer.variables)  # a constant range has no variables


def _untrained(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (
        f"This quantization-aware model has not been trained yet. Received: no range for {shown}. Call fit, or give representative "
        "data with --calibrate DATA (Python: representative_data=x_train)."
    )


def _uncovered(names: Iterable[str]) -> str:
    return (
        f"Training must have reached all ranges, or representative data must provide them. Received: no range for "
        f"{', '.join(names)}. Give data with --calibrate DATA (Python: representative_data=x_train)."
    )
