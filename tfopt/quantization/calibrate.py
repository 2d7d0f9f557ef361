"""`calibrate()`: the ranges of a quantization-aware model from data, before training or in place of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfopt.errors import DataError
from tfopt.progress import progress_bar
from tfopt.quantization.observing import observing
from tfopt.quantization.quantize_aware import require_quantization_aware

if TYPE_CHECKING:
    from tfopt.quantization.inside.simulation import Tensors


def calibrate(model: keras.Model, data: Any, *, batch_size: int = 32, verbose: bool = True) -> keras.Model:
    """Widens the ranges of a model by all values that pass when it runs on `data` as floats: `r <- extremes of r and the batch`.

    Weights and statistics stay. Training continues from the calibrated ranges.

    Example:

    ```python
    qat = tfopt.calibrate(tfopt.quantize_aware(model), x_train[:256])
    ```

    Args:
        model: a model that `quantize_aware` returned. It is changed.
        data: array, list or dict of arrays as the model's inputs, (n, ...), float or int; or an iterable of batches, such as a
            `tf.data.Dataset`, whose labels are left out.
        batch_size: samples of arrays in a batch, at least 1, by default 32.
        verbose: whether a terminal or notebook shows a progress bar, by default True.

    Returns:
        `model`.

    Raises:
        ArgumentError: the model is not quantization-aware.
        DataError: the data hold NaN or infinite values, or there are no data.
    """
    import tensorflow as tf

    require_quantization_aware(model)

    @tf.function(autograph=False, reduce_retracing=True)
    def observe(batch: Tensors) -> None:
        with observing():
            model(batch, training=False)

    batches, total = _batches(data, batch_size)
    count = 0
    with progress_bar(verbose) as progress:
        for batch in batches:
            for value in keras.tree.flatten(batch):
                if np.asarray(value).dtype.kind == "f" and not np.isfinite(value).all():
                    raise DataError(
                        f"The data must be finite numbers. Received: NaN or infinity in batch {count}. Find it with "
                        "np.isfinite(data)."
                    )
            observe(keras.tree.map_structure(tf.convert_to_tensor, batch))
            count += 1
            progress({"stage": "calibrate", "done": count, "total": total})
    if not count:
        raise DataError("`calibrate` needs data, a few hundred samples like those of training. Received: no data.")
    return model


def _batches(data: Any, size: int) -> tuple[Iterator[Tensors], int | None]:
    """(batches of the model's inputs, how many there are or None if that is not known)."""
    first: Any = next(iter(keras.tree.flatten(data)), None) if isinstance(data, list | tuple | dict) else data
    if not hasattr(first, "shape"):
        return (batch[0] if isinstance(batch, tuple) else batch for batch in data), None
    starts = range(0, len(first), size)

    def cut(start: int) -> Tensors:
        return keras.tree.map_structure(lambda array: np.asarray(array[start : start + size]), data)

    return map(cut, starts), len(starts)
