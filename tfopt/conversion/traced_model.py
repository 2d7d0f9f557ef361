"""From a model and data to what the converter takes: data opened, representative samples drawn, one function traced."""

import dataclasses

import numpy as np

from tfopt.conversion import trained_ranges
from tfopt.data import representative, signature
from tfopt.data.open_samples import open_samples
from tfopt.errors import DataError
from tfopt.keras_model.describe import crash_suspects
from tfopt.keras_model.ends import input_scaling
from tfopt.keras_model.walk import walk_layers
from tfopt.lowering import lower
from tfopt.lowering.trace import Traced, float_ids, trace_model


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A model that is ready for the converter.

    Attributes:
        is_trained: bool, whether the model is quantization-aware.
        layers: list of the layers of the model that is converted.
        lowering: `lower.Lowering`.
        own_specs, specs: lists of `signature.TensorSpec`, the inputs of the model and those of the file.
        validation: None or `samples.Samples`.
        drawn: None or `calibrate.Representative`.
        traced: `export.Traced`.
        notes: list of str.
    """

    is_trained: bool
    layers: list
    lowering: lower.Lowering
    own_specs: list
    specs: list
    validation: object
    drawn: object
    traced: Traced
    notes: list


def prepare(model, representative_data, validation_data, settings, float_model=None, progress=lambda report: None):
    """Opens the data, draws the representative ones and traces the model.

    Args:
        model: Keras model of either generation, in float32.
        representative_data, validation_data, float_model: as for `convert`.
        settings: `Settings`.
        progress: called with {"stage", "suspects"}.

    Returns:
        A `Prepared`.
    """
    is_trained = trained_ranges.is_quantization_aware(model)
    trained_ranges.check(is_trained, settings, float_model)
    served = trained_ranges.served(model, has_data=representative_data is not None) if is_trained else model
    layers = list(walk_layers(served))
    lowering = lower.plan(served, skip=settings.skip_lowering)
    own = specs = signature.input_specs(model, settings.input_shapes)
    if "input_scaling" in lowering.touched and settings.quantization in ("int8", "int16x8"):
        specs = lower.float_inputs(model, specs)

    progress({"stage": "draw representative data", "suspects": crash_suspects(layers)})
    validation = _open_validation(validation_data, specs, settings)
    specs, drawn = _draw(representative_data, validation, specs, settings, is_trained=is_trained)
    notes = list(drawn.notes) if drawn else []
    if drawn and drawn.calibrated:
        notes += representative.scaling_notes(input_scaling(model), drawn.arrays)

    progress({"stage": "trace"})
    traced = trace_model(served, specs, lowering)
    ids = float_ids(traced)
    if ids:
        specs = [dataclasses.replace(spec, dtype="int32") if spec.name in ids else spec for spec in specs]
        drawn = drawn and dataclasses.replace(
            drawn, arrays=drawn.arrays | {name: drawn.arrays[name].astype("int32") for name in ids}
        )
        traced = trace_model(served, specs, lowering)
        notes.append(f"the model takes input {', '.join(map(repr, ids))} as integers, so does the file")
    return Prepared(is_trained, layers, lowering, own, specs, validation, drawn, traced, notes)


def _open_validation(data, specs, settings):
    if data is None:
        return None
    labels = None
    # Keras' rule: a pair is (data, labels), unless it is one array for each of two inputs.
    if isinstance(data, tuple) and len(data) == 2 and (len(specs) != 2 or isinstance(data[0], (dict, tuple, list))):
        data, labels = data
    return open_samples(data, specs, labels=labels, scale=settings.scale)


def _draw(data, validation, specs, settings, *, is_trained):
    """(specs without open sizes, `Representative` or None). Data are optional where nothing is to be calibrated."""
    needed = settings.quantization in ("int8", "int16x8") and not is_trained
    if data is None and needed:
        raise DataError(
            f"{settings.quantization} needs representative data, a few hundred samples like those of training. Received: none. "
            "Give them with --calibrate DATA (.npy, .npz or a folder of images; Python: representative_data=x_train). "
            "`--calibrate synthetic` uses random numbers, and the file is then marked as uncalibrated."
        )
    if isinstance(data, str) and data == representative.SYNTHETIC:
        fixed = signature.fix_sizes(specs, settings.batch_size)
        return fixed, representative.synthetic(fixed, settings.samples, settings.seed)
    opened = validation if data is None else open_samples(data, specs, scale=settings.scale)
    shapes = None
    if opened is not None and any(None in spec.shape[1:] for spec in specs):
        first, _ = next(iter(opened.read()))
        shapes = {name: np.shape(value) for name, value in first.items()}
    fixed = signature.fix_sizes(specs, settings.batch_size, shapes)
    return fixed, None if data is None else representative.draw(opened, fixed, settings.samples, settings.seed)
