"""A quantization-aware model on its way into a file: the form that is converted, its float twin, and what training left open."""

from tfopt.errors import DataError
from tfopt.keras2.strip import strip
from tfopt.keras2.tfmot_layers import has_quantizers, unseen_quantizers
from tfopt.quantization import quantize_aware
from tfopt.quantization.bake import baked
from tfopt.quantization.report import quantization_report
from tfopt.tflite import op_audit


def is_quantization_aware(model):
    """Whether a model of either generation rounds as it trains."""
    return has_quantizers(model) or quantize_aware.is_quantization_aware(model)


def served(model, has_data):
    """The model that is converted in place of a quantization-aware one, with the same outputs.

    Args:
        model: one of either generation.
        has_data: bool, whether there are representative data.

    Raises:
        DataError: there are ranges that training did not reach, and no data that could tell them.
    """
    if has_quantizers(model):
        unseen = unseen_quantizers(model)
        if unseen:  # there its fake quantization would cut what data show
            raise DataError(
                f"training must have told all ranges. Received: none for {', '.join(unseen)}. Train the model with fit, or convert "
                "tfopt.legacy.strip(model) with representative data."
            )
        return model
    unseen = quantization_report(model).unseen
    if unseen and not has_data:
        raise DataError(_uncovered(unseen))
    return baked(model)


def float_twin(model):
    """The plain model whose float32 file a quantization-aware one is timed against."""
    return strip(model) if has_quantizers(model) else quantize_aware.strip_quantization(model)


def require_covered(interpreter, layer_names):
    """Raises `DataError` if a file that was made without representative data has ops without a range.

    Args:
        interpreter: `Interpreter` of the file.
        layer_names: names of the model's layers.
    """
    ops = op_audit.examine(interpreter, layer_names, "int8").float_ops
    if ops:
        raise DataError(_uncovered(dict.fromkeys(f"{op.op} of {op.layer!r}" if op.layer else op.tensor for op in ops)))


def _uncovered(names):
    return (
        f"training must have told all ranges, or representative data must fill them in. Received: none for {', '.join(names)}. "
        "Give data with --calibrate DATA (Python: representative_data=x_train)."
    )
