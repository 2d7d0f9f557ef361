"""TFLite files of Keras models as the exporter alone makes them, in this process: nothing is lowered, checked or timed."""

from tfopt.conversion import export
from tfopt.data import signature
from tfopt.lowering.trace import trace_model


def tflite_of(model, data=None, quantization="int8", *, io="int8", batch_size=1, specs=None):
    """The bytes of a file.

    Args:
        model: a Keras model.
        data: array (n, ...) to calibrate its one input with, or dict of input name -> array; None for a file without ranges.
        quantization, io: as for `tfopt.convert`.
        batch_size: of the file.
        specs: inputs of a model that has none of its own.
    """
    traced = trace_model(model, specs or signature.fix_sizes(signature.input_specs(model), batch_size))
    samples = data if data is None or isinstance(data, dict) else {traced.inputs[0].name: data}
    return export.to_tflite(traced, export.Variant(quantization, io), samples=samples).content
