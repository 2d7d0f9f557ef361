"""`calibrate()`: the ranges of a quantization-aware model from data, before training or instead of it."""

import keras
import numpy as np

from tfopt.errors import DataError
from tfopt.quantization.fake_quantize import observing
from tfopt.quantization.quantize_aware import require_quantization_aware


def calibrate(model, data, *, batch_size=32):
    """Widens the ranges of a model by all that passes when it runs on `data`, as floats: `r <- extremes of r and the batch`.

    Weights and statistics stay. In training, ranges with a beginning go on from it.

    Example:

    ```python
    qat = tfopt.calibrate(tfopt.quantize_aware(model), x_train[:256])
    ```

    Args:
        model: what `quantize_aware` returned. It is changed.
        data: array, list or dict of arrays as the model's inputs, (n, ...), float or int; or an iterable of batches, such as a
            `tf.data.Dataset`, of which labels are left out.
        batch_size: int >= 1, of arrays.

    Returns:
        `model`.

    Raises:
        ArgumentError: the model is not quantization-aware.
        DataError: the data hold NaN or infinite values, or nothing.
    """
    import tensorflow as tf

    require_quantization_aware(model)

    @tf.function(autograph=False, reduce_retracing=True)
    def observe(batch):
        with observing():
            model(batch, training=False)

    count = 0
    for batch in _batches(data, batch_size):
        for value in keras.tree.flatten(batch):
            if np.asarray(value).dtype.kind == "f" and not np.isfinite(value).all():
                raise DataError(
                    f"the data must be finite numbers. Received: NaN or infinity in batch {count}. Find it with np.isfinite(data)."
                )
        observe(keras.tree.map_structure(tf.convert_to_tensor, batch))
        count += 1
    if not count:
        raise DataError("`calibrate` needs data, a few hundred samples like those of training. Received: none.")
    return model


def _batches(data, size):
    first = keras.tree.flatten(data)[0] if isinstance(data, list | tuple | dict) else data
    if hasattr(first, "shape"):
        for start in range(0, len(first), size):
            rows = slice(start, start + size)
            yield keras.tree.map_structure(lambda array, rows=rows: np.asarray(array[rows]), data)
        return
    for batch in data:
        yield batch[0] if isinstance(batch, tuple) else batch
