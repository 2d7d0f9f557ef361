"""The two halves of TensorFlow's int8 quantization: collect ranges, then quantize. Between them the model can be edited."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from tfopt.errors import ConversionError
from tfopt.tflite.signature import in_order

if TYPE_CHECKING:
    import tensorflow as tf


def collect_ranges(converter: tf.lite.TFLiteConverter) -> bytes:
    """Converts to a float file that holds the range of each tensor.

    Example:

    ```python
    calibrated = collect_ranges(converter)
    content = quantize(calibrated, tf.int8, tf.int8)      # as converter.convert() does both
    ```

    Args:
        converter: ready for int8, with representative data.

    Returns:
        A float32 TFLite file with `min` and `max` in the quantization of its tensors.
    """
    # No public name asks for this half alone (TensorFlow 2.21); tests/ptq/test_quantizer.py notices when it goes.
    converter._experimental_calibrate_only = True
    try:
        return in_order(bytes(converter.convert()))
    finally:
        converter._experimental_calibrate_only = False


def quantize(calibrated: bytes, input_dtype: tf.DType, output_dtype: tf.DType, in_float: Collection[str] = ()) -> bytes:
    """Quantizes a float file by the ranges that it holds, as `TFLiteConverter` does itself.

    Example:

    ```python
    content = quantize(calibrated, tf.float32, tf.float32, in_float={"functional_1/mel_1/Log"})
    ```

    Args:
        calibrated: the float file that `collect_ranges` makes.
        input_dtype, output_dtype: of the inputs and outputs: `tf.int8`, `tf.uint8` or `tf.float32`.
        in_float: names of the first outputs of operations that stay in float.

    Returns:
        An int8 TFLite file.

    Raises:
        ConversionError: the quantizer refuses the file.
    """
    # TensorFlow 2.21 has no public door to its quantizer; this one has had the name and these arguments since 2.5.
    from tensorflow.lite.python.convert import mlir_quantize

    try:
        content = mlir_quantize(
            calibrated, input_data_type=input_dtype, output_data_type=output_dtype, denylisted_nodes=set(in_float) or None
        )
        return in_order(bytes(content))
    except Exception as error:  # MLIR diagnostics arrive as several undocumented types
        text = " ".join(str(error).split())
        raise ConversionError(f"The quantizer must be able to use the ranges. Received: {text[:300]}.") from error
