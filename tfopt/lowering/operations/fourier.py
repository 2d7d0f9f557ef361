"""Rules for the Fourier transform of fixed length as products with fixed matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule

_LONGEST = 2048
"""A longer transform would need a matrix of over two million values."""


def _part(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """The real or the imaginary part of a transform, or its size: complex numbers have no integer form."""
    import tensorflow as tf

    found = _transformed(operation.inputs[0].op, find)
    if found is None:
        return None
    real, imaginary = found
    if operation.type in ("Real", "Imag"):
        return real if operation.type == "Real" else imaginary
    return tf.sqrt(real * real + imaginary * imaginary)


def _transformed(operation: tf.Operation, find: Find) -> tuple[tf.Tensor, tf.Tensor] | None:
    """(real, imaginary) parts of a transform of fixed length; None for other operations."""
    import tensorflow as tf

    signal = operation.inputs[0]
    if operation.type == "RFFT":
        length = tf.get_static_value(operation.inputs[1])
        count = 0 if length is None else int(length.reshape(-1)[0])
        given = signal.shape[-1]
        if given is None or not 0 < count <= _LONGEST:
            return None
        return _along_last(find(signal)[..., :count], None, _matrices(min(count, given), count, count // 2 + 1))
    sizes = signal.shape[-2:] if operation.type == "FFT2D" else signal.shape[-1:]
    if (
        operation.type not in ("FFT", "FFT2D")
        or signal.op.type != "Complex"
        or any((size or _LONGEST + 1) > _LONGEST for size in sizes)
    ):
        return None
    real, imaginary = signal.op.inputs
    is_real = imaginary.op.type == "ZerosLike" or _is_zero(imaginary)
    found = _along_last(find(real), None if is_real else find(imaginary), _matrices(sizes[-1], sizes[-1], sizes[-1]))
    if operation.type == "FFT2D":
        real, imaginary = (tf.linalg.matrix_transpose(each) for each in found)
        real, imaginary = _along_last(real, imaginary, _matrices(sizes[0], sizes[0], sizes[0]))
        found = (tf.linalg.matrix_transpose(real), tf.linalg.matrix_transpose(imaginary))
    return found


def _is_zero(tensor: tf.Tensor) -> bool:
    import tensorflow as tf

    value = tf.get_static_value(tensor)
    return value is not None and not value.any()


def _along_last(
    real: tf.Tensor, imaginary: tf.Tensor | None, matrices: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
) -> tuple[tf.Tensor, tf.Tensor]:
    """`(r + i j) (cos - i sin)`: one product for each part of the result, which is rounded once."""
    import tensorflow as tf

    cosines, sines = (tf.constant(each) for each in matrices)
    if imaginary is None:
        return tf.tensordot(real, cosines, 1), tf.tensordot(real, sines * -1.0, 1)
    both = tf.concat([real, imaginary], -1)
    return tf.tensordot(both, tf.concat([cosines, sines], 0), 1), tf.tensordot(both, tf.concat([sines * -1.0, cosines], 0), 1)


def _matrices(samples: int, length: int, frequencies: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(cosines, sines), each (samples, frequencies), of a transform of `length`."""
    import numpy as np

    angles = 2 * np.pi * np.arange(samples)[:, None] * np.arange(frequencies) / length
    return np.cos(angles).astype("float32"), np.sin(angles).astype("float32")


FOURIER: dict[str, dict[str, Rule]] = {"fourier": {"Real": _part, "Imag": _part, "ComplexAbs": _part}}
