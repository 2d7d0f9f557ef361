"""Draw representative data and check them before the converter starts."""

import dataclasses
import itertools

import numpy as np

from tfopt.errors import DataError

SYNTHETIC = "synthetic"
# How many samples of data that may be endless are drawn from.
ENDLESS_LIMIT = 100_000


@dataclasses.dataclass(frozen=True)
class Representative:
    """Samples that were drawn and fit the model.

    Attributes:
        arrays: dict of input name -> array (n, ...) in the input's dtype.
        source: str, where they come from.
        notes: tuple of str, what a user should know of them.
        calibrated: bool; False for random numbers.
    """

    arrays: dict
    source: str
    notes: tuple
    calibrated: bool = True

    @property
    def count(self):
        return len(next(iter(self.arrays.values())))


def draw(samples, specs, count, seed):
    """Draws `count` samples, or all where there are fewer, from the whole set, each equally likely; checks them.

    Data of unknown length are drawn from by reservoir sampling (Vitter, 1985, Algorithm R): one pass, `count` samples in memory.

    Args:
        samples: `samples.Samples`.
        specs: list of `signature.TensorSpec` without open sizes (the batch size does not matter).
        count: int >= 1.
        seed: int.

    Returns:
        `Representative`.

    Raises:
        DataError: a sample has the wrong shape or dtype, NaN or infinity, or all samples are one constant.
    """
    notes = {}
    generator = np.random.default_rng(seed)
    drawn = []
    for place, index, inputs in _choose(samples, count, generator, notes):
        # A copy, as what was read may be a row of a batch, which would live on.
        drawn[place : place + 1] = [{name: value.copy() for name, value in conform(inputs, specs, index, notes).items()}]
    arrays = {spec.name: np.stack([sample[spec.name] for sample in drawn]) for spec in specs}
    constant = [name for name, array in arrays.items() if array.min() == array.max()]
    if len(constant) == len(arrays):
        raise DataError(
            f"Representative data must vary. Received: {samples.source}, where every drawn value of {constant} is "
            f"{arrays[constant[0]].flat[0]}. Give real samples."
        )
    for name in constant:
        notes[f"input {name!r} is constant in the representative data"] = None
    return Representative(arrays, samples.source, tuple(notes))


def _choose(samples, count, generator, notes):
    """Yields (place among the drawn, index in the data, inputs); a later sample may take the place of an earlier one."""
    if samples.count is not None:
        chosen = np.sort(generator.choice(samples.count, min(count, samples.count), replace=False)).tolist()
        for place, (index, (inputs, _)) in enumerate(zip(chosen, samples.read(chosen), strict=True)):
            yield place, index, inputs
        return
    limit = ENDLESS_LIMIT if samples.may_be_endless else None
    for index, (inputs, _) in enumerate(itertools.islice(samples.read(), limit)):
        place = index if index < count else int(generator.integers(0, index + 1))
        if place < count:
            yield place, index, inputs
        if index + 1 == limit:
            notes[f"the representative data were drawn from the first {limit:,} samples"] = None


def synthetic(specs, count, seed):
    """Random numbers in place of data: uniform in [0, 1), zeros for integer inputs. The result is marked as uncalibrated."""
    generator = np.random.default_rng(seed)
    arrays = {
        spec.name: np.zeros((count, *spec.shape[1:]), spec.dtype)
        if np.dtype(spec.dtype).kind != "f"
        else generator.random((count, *spec.shape[1:])).astype(spec.dtype)
        for spec in specs
    }
    note = "UNCALIBRATED: the ranges come from random numbers, so neither the accuracy nor the SQNR says anything of real data"
    return Representative(arrays, SYNTHETIC, (note,), calibrated=False)


def conform(inputs, specs, index, notes):
    """Brings one sample to the model's dtypes, or says what is wrong with it.

    Args:
        inputs: dict of input name -> array without batch.
        specs: list of `signature.TensorSpec`.
        index: int, the sample's number, for messages.
        notes: dict whose keys collect what was done.

    Returns:
        dict of input name -> array.

    Raises:
        DataError: wrong shape or dtype, NaN or infinity.
    """
    return {spec.name: _conform(np.asarray(inputs[spec.name]), spec, index, notes, inputs, specs) for spec in specs}


def _conform(value, spec, index, notes, inputs, specs):
    if value.shape != tuple(spec.shape[1:]):
        raise DataError(_wrong_shape(value, spec, index, inputs, specs))
    wanted = np.dtype(spec.dtype)
    if value.dtype.kind not in "fiub" and value.dtype != wanted and value.dtype.name != "bfloat16":
        raise DataError(f"Input {spec.name!r} must be numbers ({spec.dtype}). Received: {value.dtype} in sample {index}.")
    if value.dtype.kind not in "iub" and not np.isfinite(value).all():
        raise DataError(f"Input {spec.name!r} must be finite. Received: NaN or infinity in sample {index}. Clean the data first.")
    if value.dtype == wanted:
        return value
    if wanted.kind in "iu" and value.dtype.kind == "f" and (value != np.floor(value)).any():
        raise DataError(
            f"Input {spec.name!r} takes whole numbers ({spec.dtype}). Received: fractions in sample {index}. Convert the data."
        )
    if value.dtype.kind in "iub" or wanted.kind in "iu":
        notes[f"input {spec.name!r}: {value.dtype} data were converted to {wanted}"] = None
    with np.errstate(over="ignore", invalid="ignore"):
        converted = value.astype(wanted)
    kept = np.isfinite(converted) if wanted.kind == "f" else converted.astype(np.float64) == value.astype(np.float64)
    if not kept.all():
        raise DataError(
            f"Input {spec.name!r} must fit into {wanted}. Received: values from {value.min()} to {value.max()} in sample {index}."
        )
    return converted


def _wrong_shape(value, spec, index, inputs, specs):
    needed = tuple(spec.shape[1:])
    text = f"A sample of input {spec.name!r} must have the shape {needed}. Received: {value.shape} in sample {index}."
    if (*value.shape, 1) == needed:
        return f"{text} Add the channel: x[..., None]."
    if len(specs) > 1 and sorted(np.shape(array) for array in inputs.values()) == sorted(tuple(other.shape[1:]) for other in specs):
        return f"{text} The arrays are in another order than the inputs {[other.name for other in specs]}: give a dict by name."
    return f"{text} Prepare the data as for training."


def scaling_notes(layer, arrays):
    """Compares the data's range with what the model does to its input first, as wrong or double scaling ruins calibration.

    Args:
        layer: the `Rescaling` or `Normalization` layer that the model begins with, or None.
        arrays: dict of input name -> float array (n, ...).

    Returns:
        list of str, empty where nothing is suspicious.
    """
    if len(arrays) != 1:
        return []
    values = next(iter(arrays.values()))
    if values.dtype.kind != "f":
        return []
    low, high = float(values.min()), float(values.max())
    seen = f"the representative data lie in [{low:.4g}, {high:.4g}]"
    if layer is None:
        is_image = values.ndim == 4 and values.shape[-1] in (1, 3)
        if is_image and low >= 0 and high > 16:
            return [f"{seen}, as raw pixels do, but the model does not begin with Rescaling: scale them as in training"]
        return []
    if type(layer).__name__ == "Rescaling":
        factor = float(np.max(np.abs(np.asarray(layer.scale))))
        if factor < 0.05 and max(abs(low), abs(high)) * factor < 0.05:
            return [f"{seen}, but the model begins with {layer.name} (Rescaling by {factor:.4g}): they look scaled already"]
        if low >= 0 and high > 16 and high * factor > 16:
            return [f"{seen}, but the model begins with {layer.name} (Rescaling by {factor:.4g}): they look like raw pixels"]
        return []
    deviation = float(np.sqrt(np.max(np.asarray(layer.variance))))
    center = float(np.max(np.abs(np.asarray(layer.mean))))
    if max(center, deviation) > 5 and max(abs(low), abs(high)) < max(center, deviation) / 4:
        what = f"{layer.name} (Normalization of values about {center:.4g})"
        return [f"{seen}, but the model begins with {what}: they look scaled already"]
    if low >= 0 and high > 16 and high - center > 30 * deviation:
        what = f"{layer.name} (Normalization of values about {center:.4g})"
        return [f"{seen}, but the model begins with {what}: they look like raw pixels"]
    return []
