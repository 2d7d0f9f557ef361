"""`Cache`: the answers of a teacher, its outputs and features for each sample, computed once and kept in memory or in a folder."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops, tree

from tfopt.distillation import guards
from tfopt.distillation.fingerprint import fingerprint
from tfopt.errors import ArgumentError, DataError, OutputError
from tfopt.progress import progress_bar

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    from tfopt.distillation.features import Features
    from tfopt.files import PathLike

    Array = npt.NDArray[Any]
    Answers = dict[str, npt.NDArray[np.float32]]  # name of an output or feature -> its values for all samples

_INPUTS, _ANSWERS = "tfopt_inputs", "tfopt_answers"  # keys of the dict that takes the place of `x`
_BATCH = 256


class Cache:
    """The answers of a teacher by number of the sample.

    Args:
        place: "memory", or the path of a folder, which is created.

    Attributes:
        folder: the folder; None for "memory".

    Raises:
        ArgumentError: `place` is neither.
    """

    def __init__(self, place: PathLike) -> None:
        if not isinstance(place, str | os.PathLike):
            raise ArgumentError(f"`cache` must be None, 'memory' or the path of a folder. Received: {place!r}.")
        self.folder: pathlib.Path | None = None if place == "memory" else pathlib.Path(place)
        self._kept: tuple[str, Answers] | None = None  # with a fingerprint of what they were computed from

    def prepare(self, taught: Features, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `fit` with the answers of the teacher beside the inputs of each sample.

        Args:
            taught: the teacher.
            arguments: the arguments that `fit` was given, by name.

        Raises:
            ArgumentError: `x` is not made of arrays.
            DataError: an answer of the teacher is NaN or infinite.
            OutputError: the folder cannot be written.
        """
        arguments = dict(arguments)
        x, y = guards.as_arrays(arguments.get("x")), arguments.get("y")
        if x is None:
            raise ArgumentError(
                "A cache needs arrays, in which each sample has a number. Received: "
                f"{type(arguments.get('x')).__name__}, which may shuffle or augment its samples, so that a sample would meet the "
                "answer for another one. Give fit() arrays, or leave `cache` out; augmentation can be done by layers at "
                "the beginning of the student."
            )
        weight, share = arguments.get("sample_weight"), arguments.pop("validation_split", 0.0)
        if share and arguments.get("validation_data") is None:
            end = int(len(tree.flatten(x)[0]) * (1.0 - share))  # the last samples, as Keras takes them
            arguments["validation_data"] = tuple(_cut(part, slice(end, None)) for part in (x, y, weight) if part is not None)
            x, y, weight = (_cut(part, slice(end)) for part in (x, y, weight))
        if arguments.get("class_weight"):
            weight = _class_weights(y, arguments.pop("class_weight"), weight)
        answers = self._answers(taught, x, verbose=arguments.get("verbose", "auto") != 0)
        return {**arguments, "x": {_INPUTS: x, _ANSWERS: answers}, "y": y, "sample_weight": weight}

    def _answers(self, taught: Features, x: Any, verbose: bool) -> Answers:
        compute, traced = _trace(taught, x)
        mark = fingerprint(traced, taught.model, x)
        if self._kept is None or self._kept[0] != mark:
            folder = self.folder / mark if self.folder else None
            if folder and folder.is_dir():
                answers = {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
            else:
                answers = _ask(compute, x, verbose)
                if folder:
                    _save(answers, folder)
            self._kept = mark, answers
        return self._kept[1]


def split(x: Any) -> tuple[Any, dict[str, tf.Tensor] | None]:
    """(inputs, answers of the teacher or None) of the `x` that `fit` passes on."""
    is_both = isinstance(x, dict) and set(x) == {_INPUTS, _ANSWERS}
    return (x[_INPUTS], x[_ANSWERS]) if is_both else (x, None)


def pack(outputs: Any, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The answers of a teacher as one dict.

    Args:
        outputs: a structure of tensors.
        features: name of a layer -> its output.
    """
    return {
        **{f"output_{index}": output for index, output in enumerate(tree.flatten(outputs))},
        **{f"feature_{index}": features[name] for index, name in enumerate(sorted(features))},
    }


def unpack(answers: Mapping[str, tf.Tensor], names: Iterable[str]) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
    """(outputs, features by the name of their layer) of the dict that `pack` made; `names` are those of the layers."""
    outputs = [answers[f"output_{index}"] for index in range(sum(key.startswith("output_") for key in answers))]
    return outputs, {name: answers[f"feature_{index}"] for index, name in enumerate(sorted(names))}


def _trace(taught: Features, x: Any) -> tuple[Callable[[Any], dict[str, tf.Tensor]], Any]:
    """(a function of a batch that returns the answers of a teacher, the same traced for batches of any size)."""
    import tensorflow as tf

    compute = tf.function(lambda batch: pack(*taught(batch, training=False)), reduce_retracing=True)
    one = tree.map_structure(ops.convert_to_tensor, _cut(x, slice(1)))
    specs = tree.map_structure(lambda tensor: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype), one)
    return compute, compute.get_concrete_function(specs)


def _ask(compute: Callable[[Any], dict[str, tf.Tensor]], x: Any, verbose: bool) -> Answers:
    """The answers of a teacher for all samples."""
    count = len(tree.flatten(x)[0])
    parts = []
    with progress_bar(verbose) as progress:
        for start in range(0, count, _BATCH):
            batch = tree.map_structure(ops.convert_to_tensor, _cut(x, slice(start, start + _BATCH)))
            parts.append({name: np.asarray(value, "float32") for name, value in compute(batch).items()})
            progress({"stage": "teacher", "done": min(start + _BATCH, count), "total": count})
    answers = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not all(np.isfinite(value).all() for value in answers.values()):
        raise DataError("The teacher must be finite. Received: NaN or infinity in its outputs for x.")
    return answers


def _cut(part: Any, chosen: slice) -> Any:
    """The chosen rows of each array in a structure; None for None."""
    return None if part is None else tree.map_structure(lambda array: array[chosen], part)


def _save(answers: Answers, folder: pathlib.Path) -> None:
    """Writes all arrays, or none; if several workers write the same arrays, those of the first one stay."""
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
        for name, value in answers.items():
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


def _class_weights(y: Any, class_weight: Mapping[int, float], sample_weight: npt.ArrayLike | None) -> Array:
    """Weights of samples (n,) that stand for the weights of their classes, times `sample_weight`, (n,) or (n, 1)."""
    labels = np.asarray(y)
    if labels.ndim > 1 and labels.shape[-1] > 1:
        labels = labels.argmax(axis=-1)
    weights = np.array([class_weight.get(int(label), 1.0) for label in labels.reshape(len(labels))], "float32")
    return weights if sample_weight is None else weights * np.reshape(sample_weight, weights.shape)
