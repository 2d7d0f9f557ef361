"""`Cache`: what a teacher says of each sample, computed once and kept in memory or in a folder."""

import hashlib
import os
import pathlib
import shutil
import sys
import tempfile

import numpy as np
from keras import ops, tree

from tfopt.distillation import guards
from tfopt.errors import ArgumentError, DataError, OutputError

_INPUTS, _SAID = "tfopt_inputs", "tfopt_said"  # of the dict that takes the place of `x`
_BATCH = 256


class Cache:
    """Outputs of a teacher by number of the sample.

    Args:
        place: "memory" or the path of a folder, which is made.
    """

    def __init__(self, place):
        if not isinstance(place, str | os.PathLike):
            raise ArgumentError(f"`cache` must be None, 'memory' or the path of a folder. Received: {place!r}.")
        self.folder = None if place == "memory" else pathlib.Path(place)
        self._kept = None, None

    def prepare(self, taught, arguments):
        """The arguments of `fit` with what the teacher says beside the inputs of each sample.

        Args:
            taught: `Features` of the teacher.
            arguments: dict of those of `fit`.

        Raises:
            ArgumentError: the samples have no numbers.
            DataError: the teacher puts out NaN or infinity.
            OutputError: the folder cannot be written.
        """
        arguments = dict(arguments)
        x, y = guards.as_arrays(arguments.get("x")), arguments.get("y")
        if x is None:
            raise ArgumentError(
                "a cache needs arrays, in which each sample has a number. Received: "
                f"{type(arguments.get('x')).__name__}, which may shuffle or augment its samples, so that what the teacher said of "
                "one would be held against another. Give fit() arrays, or leave `cache` out; augmentation can be layers at the "
                "beginning of the student."
            )
        weight, share = arguments.get("sample_weight"), arguments.pop("validation_split", 0.0)
        if share and arguments.get("validation_data") is None:
            end = int(len(tree.flatten(x)[0]) * (1.0 - share))  # as Keras does: the last ones
            arguments["validation_data"] = tuple(_cut(part, slice(end, None)) for part in (x, y, weight) if part is not None)
            x, y, weight = (_cut(part, slice(end)) for part in (x, y, weight))
        if arguments.get("class_weight"):
            weight = _class_weights(y, arguments.pop("class_weight"), weight)
        said = self._say(taught, x, show=arguments.get("verbose", "auto") != 0)
        return {**arguments, "x": {_INPUTS: x, _SAID: said}, "y": y, "sample_weight": weight}

    def _say(self, taught, x, show):
        mark = _fingerprint(taught, x)
        if self._kept[0] != mark:
            folder = self.folder and self.folder / mark
            if folder and folder.is_dir():
                said = {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
            else:
                said = _run(taught, x, show)
                if folder:
                    _save(said, folder)
            self._kept = mark, said
        return self._kept[1]


def split(x):
    """(inputs, what the teacher said of them or None) of what `fit` passes on."""
    is_both = isinstance(x, dict) and set(x) == {_INPUTS, _SAID}
    return (x[_INPUTS], x[_SAID]) if is_both else (x, None)


def pack(outputs, features):
    """One dict of str -> tensor of what a teacher said."""
    names = sorted(features)
    return {
        **{f"output_{index}": output for index, output in enumerate(tree.flatten(outputs))},
        **{f"feature_{index}": features[name] for index, name in enumerate(names)},
    }


def unpack(said, names):
    """(outputs, dict of layer name -> feature) of what `pack` made."""
    outputs = [said[f"output_{index}"] for index in range(sum(key.startswith("output_") for key in said))]
    return outputs, {name: said[f"feature_{index}"] for index, name in enumerate(sorted(names))}


def _run(taught, x, show):
    import tensorflow as tf
    from rich.console import Console
    from rich.progress import track

    compute = tf.function(lambda batch: pack(*taught(batch, training=False)), reduce_retracing=True)
    count = len(tree.flatten(x)[0])
    parts = []
    console = Console(stderr=True)
    starts = range(0, count, _BATCH)
    for start in track(starts, "teacher", console=console, transient=True, disable=not (show and sys.stderr.isatty())):
        batch = tree.map_structure(ops.convert_to_tensor, _cut(x, slice(start, start + _BATCH)))
        parts.append({name: np.asarray(value, "float32") for name, value in compute(batch).items()})
    said = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not all(np.isfinite(value).all() for value in said.values()):
        raise DataError("the teacher must be finite. Received: NaN or infinity in what it puts out for x.")
    return said


def _cut(part, chosen):
    return None if part is None else tree.map_structure(lambda array: array[chosen], part)


def _save(said, folder):
    """Writes all arrays, or nothing; of several workers that write the same, the first one counts."""
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
        for name, value in said.items():
            with (temporary / f"{name}.npy").open("wb") as file:
                np.save(file, value)
        os.replace(temporary, folder)
    except OSError as error:
        if folder.is_dir():
            return
        raise OutputError(f"`cache` must be a folder that can be written. Received: {folder.parent}: {error.strerror}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _fingerprint(taught, x):
    """Hexadecimal str that tells samples, teacher and layers from others."""
    made = hashlib.blake2b(digest_size=16)
    values = [*tree.flatten(x), *(variable.numpy() for variable in taught.model.weights)]
    for value in (np.ascontiguousarray(value) for value in values):
        made.update(f"{value.shape}{value.dtype}".encode())
        made.update(value.view("uint8").data if value.size and value.dtype.kind in "biuf" else value.tobytes())
    made.update(repr([sorted(taught.layers), [layer.name for layer in taught.model.layers]]).encode())
    return made.hexdigest()


def _class_weights(y, class_weight, sample_weight):
    labels = np.asarray(y)
    if labels.ndim > 1 and labels.shape[-1] > 1:
        labels = labels.argmax(axis=-1)
    weights = np.array([class_weight.get(int(label), 1.0) for label in labels.reshape(len(labels))], "float32")
    return weights if sample_weight is None else weights * np.asarray(sample_weight)
