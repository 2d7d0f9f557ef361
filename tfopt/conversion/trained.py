"""A quantization-aware model on its way into a file: the form that is converted, its float twin, and what training left open."""

from tfopt import legacy
from tfopt.conversion import structure
from tfopt.errors import ArgumentError, DataError
from tfopt.quantization import keras2
from tfopt.quantization.bake import baked
from tfopt.quantization.quantize_aware import is_quantization_aware, strip_quantization
from tfopt.quantization.report import quantization_report


def forms(model, settings, float_model, has_data):
    """(the model to be converted, the model whose float32 file it is timed against): one and the same unless training rounded.

    Args:
        model: Keras model of either generation.
        settings: `settings.Settings`.
        float_model: None or what the user gave as such.
        has_data: bool, whether there are representative data.

    Raises:
        ArgumentError: the settings ask for something that training did not prepare.
        DataError: there are ranges that training did not reach, and no data.
    """
    is_keras_2 = legacy.is_quantization_aware(model)
    if not is_keras_2 and not is_quantization_aware(model):
        if float_model is not None:
            raise ArgumentError("`float_model` belongs to a quantization-aware model. Received: a plain one. Leave it out.")
        return model, model
    if settings.quantization != "int8" or settings.ptq != "default":
        raise ArgumentError(
            "a quantization-aware model becomes int8, with the ranges that it was trained with. Received: "
            f"quantization={settings.quantization!r}, ptq={settings.ptq!r}. For others, convert "
            f"{'tfopt.legacy.strip' if is_keras_2 else 'tfopt.strip_quantization'}(model)."
        )
    if is_keras_2:
        unseen = keras2.unseen(model)
        if unseen:  # there its fake quantization would cut what data show
            raise DataError(
                f"training must have told all ranges. Received: none for {', '.join(unseen)}. Train the model with fit, or convert "
                "tfopt.legacy.strip(model) with representative data."
            )
        return model, legacy.strip(model)
    unseen = quantization_report(model).unseen
    if unseen and not has_data:
        raise DataError(_uncovered(unseen))
    return baked(model), strip_quantization(model)


def require_covered(interpreter, layer_names):
    """Raises `DataError` if a file that was made without representative data has ops without a range.

    Args:
        interpreter: `Interpreter` of the file.
        layer_names: names of the model's layers.
    """
    ops = structure.examine(interpreter, layer_names, "int8").float_ops
    if ops:
        raise DataError(_uncovered(dict.fromkeys(f"{op.op} of {op.layer!r}" if op.layer else op.tensor for op in ops)))


def _uncovered(names):
    return (
        f"training must have told all ranges, or representative data must fill them in. Received: none for {', '.join(names)}. "
        "Give data with --calibrate DATA (Python: representative_data=x_train)."
    )
