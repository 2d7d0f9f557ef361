"""A model on its way to the converter: opened, traced on the inputs of the file, with the data that it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.conversion.settings import CALIBRATED, ConversionRequest
from tfopt.data import representative, signature
from tfopt.data.conform import conform
from tfopt.data.open_samples import open_samples
from tfopt.data.representative import Representative
from tfopt.data.samples import Samples
from tfopt.data.scaling_notes import scaling_notes
from tfopt.data.signature import TensorSpec
from tfopt.errors import ArgumentError, DataError
from tfopt.keras_model.describe import crash_suspects
from tfopt.keras_model.walk import short_names, walk_layers
from tfopt.lowering import lower, quantization_aware
from tfopt.lowering.input_scaling import find_input_scaling
from tfopt.lowering.operations.operations import OPERATION_RULES
from tfopt.lowering.trace import Traced, float_ids, trace_model
from tfopt.progress import Progress
from tfopt.ptq import headroom
from tfopt.tflite.edits import EDITS

if TYPE_CHECKING:
    import keras

REWRITINGS = (*lower.RULES, *OPERATION_RULES, *EDITS, headroom.NAME, lower.ALL)
"""The names of all rewritings that a conversion can leave out: of layers, of operations, of the file, and of its ranges."""

_MASKED = -1e3
"""A value that is added to a score to mask it is no larger."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TracedModel:
    """A model that is ready for the converter.

    Attributes:
        is_trained: whether the model is quantization-aware.
        layers: the layers of the model that is converted.
        layer_names: their names, which tell them apart.
        lowering: the rewritings of its layers.
        given_specs: inputs of the model, with the sizes of the file.
        specs: inputs of the file.
        traced: the model as one function.
        validation: samples to check on, or None.
        drawn: samples to calibrate with, or None.
        notes: what a user should know.
    """

    is_trained: bool
    layers: list[keras.Layer]
    layer_names: tuple[str, ...]
    lowering: lower.Lowering
    given_specs: list[TensorSpec]
    specs: list[TensorSpec]
    traced: Traced
    validation: Samples | None
    drawn: Representative | None
    notes: list[str]

    @property
    def suspects(self) -> tuple[str, ...]:
        """Layers to name if the converter dies."""
        return tuple(crash_suspects(self.layers))

    def first_rows(self) -> dict[str, npt.NDArray[Any]] | None:
        """Array (rows, ...) by input: two of the representative samples, else the first sample to validate on, else None."""
        if self.drawn is not None and self.drawn.calibrated:
            return {name: array[:2] for name, array in self.drawn.arrays.items()}
        for sample, _ in self.validation.read() if self.validation is not None else ():
            return {name: array[None] for name, array in conform(sample, self.specs, 0, {}).items()}
        return None

    def samples_to_check(self) -> tuple[Samples | None, str]:
        """(samples, their origin): the validation data, else the representative data, else (None, "none")."""
        if self.validation is not None:
            return self.validation, f"validation data ({self.validation.source})"
        if self.drawn is not None:
            return open_samples(self.drawn.arrays, self.specs), "the representative data, as no validation data were given"
        return None, "none"


def trace_with_data(model: keras.Model, request: ConversionRequest, progress: Progress) -> TracedModel:
    """Opens the data, draws the representative samples and traces the model.

    Args:
        model: model of either Keras generation, in float32: that of the request, loaded.
        request: the conversion.
        progress: called with {"stage", "suspects"}.
    """
    settings, representative_data = request.settings, request.representative_data
    require_rewritings(settings.skip_lowering)
    is_trained = quantization_aware.is_quantization_aware(model)
    _require_fitting(request, is_trained)
    served = quantization_aware.served(model, has_data=representative_data is not None) if is_trained else model
    layers, names = list(walk_layers(served)), tuple(short_names(served).values())
    lowering = lower.plan(served, skip=settings.skip_lowering)
    own = specs = signature.input_specs(model, settings.input_shapes)
    if "input_scaling" in lowering.touched and settings.quantization in CALIBRATED:
        specs = lower.float_inputs(model, specs)

    progress({"stage": "draw representative data", "suspects": crash_suspects(layers)})
    validation = _open_validation(request, specs)
    specs, drawn = _draw(representative_data, validation, specs, request, is_required=not is_trained)
    notes = list(drawn.notes) if drawn else []
    if drawn and drawn.calibrated:
        notes += scaling_notes(find_input_scaling(model), drawn.arrays)

    progress({"stage": "trace"})
    lowering = lower.with_mask_inputs(lowering, _mask_inputs(specs, drawn))
    traced = trace_model(served, specs, lowering)
    ids = float_ids(traced)
    if ids:
        specs = [dataclasses.replace(spec, dtype="int32") if spec.name in ids else spec for spec in specs]
        if drawn:
            arrays = drawn.arrays | {name: drawn.arrays[name].astype("int32") for name in ids}
            drawn = dataclasses.replace(drawn, arrays=arrays)
        traced = trace_model(served, specs, lowering)
        notes.append(f"the model takes input {', '.join(map(repr, ids))} as integers, and so does the file")
    given = [dataclasses.replace(spec, dtype=was.dtype) for spec, was in zip(specs, own, strict=True)]
    return TracedModel(
        is_trained=is_trained, layers=layers, layer_names=names, lowering=lowering, given_specs=given, specs=specs,
        traced=traced, validation=validation, drawn=drawn, notes=notes,
    )  # fmt: skip


def require_rewritings(names: Sequence[str]) -> None:
    """Raises `ArgumentError` if one of the names is none of `REWRITINGS`."""
    unknown = [name for name in names if name not in REWRITINGS]
    if unknown:
        raise ArgumentError(f"`skip_lowering` must be a list of names among {', '.join(REWRITINGS)}. Received: {unknown!r}.")


def _mask_inputs(specs: list[TensorSpec], drawn: Representative | None) -> tuple[int, ...]:
    """Places of the float inputs that are masks to add to scores: each value is 0, or so far below that no other score matters."""

    def is_mask(values: np.ndarray[Any, Any]) -> bool:
        return bool(((values == 0) | (values <= _MASKED)).all() and (values != 0).any())

    return tuple(
        place for place, spec in enumerate(specs) if drawn and spec.dtype == "float32" and is_mask(drawn.arrays[spec.name])
    )


def _require_fitting(request: ConversionRequest, is_trained: bool) -> None:
    """Raises `ArgumentError` if the request belongs to the other kind of model, plain or quantization-aware."""
    settings = request.settings
    if not is_trained and request.float_model is not None:
        raise ArgumentError("`float_model` belongs to a quantization-aware model. Received: a plain one. Leave it out.")
    if is_trained and (settings.quantization != "int8" or settings.ptq != "default"):
        raise ArgumentError(
            "a quantization-aware model becomes int8, with the ranges that it was trained with. Received: "
            f"quantization={settings.quantization!r}, ptq={settings.ptq!r}. For other files, make the model plain first: "
            "tfopt.strip_quantization(model), or tfopt.legacy.strip(model) for Keras 2."
        )


def _open_validation(request: ConversionRequest, specs: list[TensorSpec]) -> Samples | None:
    data, labels = request.validation_data, request.labels
    if data is None:
        return None
    # Keras' rule: a pair is (data, labels), unless it is one array for each of two inputs.
    is_pair = isinstance(data, tuple) and len(data) == 2 and (len(specs) != 2 or isinstance(data[0], (dict, tuple, list)))
    if labels is None and is_pair:
        data, labels = data
    return open_samples(data, specs, labels=labels, scale=request.settings.scale, allow_large=request.loading.allow_large)


def _draw(
    data: Any, validation: Samples | None, specs: list[TensorSpec], request: ConversionRequest, *, is_required: bool
) -> tuple[list[TensorSpec], Representative | None]:
    """(specs without open sizes, `Representative` or None). Data are optional where nothing is to be calibrated."""
    settings, allow_large = request.settings, request.loading.allow_large
    if data is None and is_required and settings.quantization in CALIBRATED:
        raise DataError(
            f"{settings.quantization} needs representative data: a few hundred samples like the training data. Received: no data. "
            "Give them with --calibrate DATA (.npy, .npz or a folder of images; Python: representative_data=x_train). "
            "`--calibrate synthetic` uses random numbers, and the file is then marked as uncalibrated."
        )
    if isinstance(data, str) and data == representative.SYNTHETIC:
        fixed = signature.fix_sizes(specs, settings.batch_size)
        return fixed, representative.synthetic(fixed, settings.samples, settings.seed)
    opened = validation if data is None else open_samples(data, specs, scale=settings.scale, allow_large=allow_large)
    shapes = None
    if opened is not None and any(None in spec.shape[1:] for spec in specs):
        first, _ = next(iter(opened.read()))
        shapes = {name: np.shape(value) for name, value in first.items()}
    fixed = signature.fix_sizes(specs, settings.batch_size, shapes)
    if data is None or opened is None:
        return fixed, None
    return fixed, representative.draw(opened, fixed, settings.samples, settings.seed)
