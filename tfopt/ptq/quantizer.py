"""The two halves of TensorFlow's int8 quantization, apart: collect ranges, then quantize; between them the model can be edited."""

from tfopt.errors import ConversionError
from tfopt.tflite.signature import in_order


def calibrate(converter):
    """Converts to a float file that holds the range of each tensor.

    Args:
        converter: `tf.lite.TFLiteConverter`, ready for int8 with representative data.

    Returns:
        bytes of a float32 TFLite file with `min` and `max` in the quantization of its tensors.
    """
    # No public name asks for this half alone (TensorFlow 2.21); tests/conversion/test_quantizer.py notices when it goes.
    converter._experimental_calibrate_only = True
    try:
        return in_order(bytes(converter.convert()))
    finally:
        converter._experimental_calibrate_only = False


def quantize(calibrated, input_dtype, output_dtype):
    """Quantizes a float file by the ranges that it holds, as `TFLiteConverter` does itself.

    Args:
        calibrated: bytes, as `calibrate` makes them.
        input_dtype, output_dtype: `tf.DType` of the inputs and outputs: `tf.int8`, `tf.uint8` or `tf.float32`.

    Returns:
        bytes of an int8 TFLite file.

    Raises:
        ConversionError: the quantizer refuses the file.
    """
    # TensorFlow 2.21 has no public door to its quantizer; this one has had the name and these arguments since 2.5.
    from tensorflow.lite.python.convert import mlir_quantize

    try:
        return in_order(bytes(mlir_quantize(calibrated, input_data_type=input_dtype, output_data_type=output_dtype)))
    except Exception as error:  # MLIR diagnostics arrive as several undocumented types
        text = " ".join(str(error).split())
        raise ConversionError(f"The ranges must be such that the quantizer takes them. Received: {text[:300]}.") from error
