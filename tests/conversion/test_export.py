"""What the converter refuses is told in words, with the layers that its places name."""

import keras
import pytest
import tensorflow as tf
from seeded_models import specs_of

import tfopt
from tfopt.conversion.export import Variant, to_tflite
from tfopt.lowering.trace import trace_model

REFUSALS = {  # what the converter has said, and what a user reads
    '<unknown>:0: error: loc(callsite("{0}"("a") at "b")): \'tfl.strided_slice\' op quantization parameters violate the same '
    "scale constraint: !quant.uniform<i8:f32, 0.005469046387017942:-10> vs. !quant.uniform<i8:f32, 0.0045751120529922782:5>": (
        "'gate': the operation STRIDED_SLICE: quantization parameters violate the same scale constraint: a scale of 0.00547 vs. a "
        "scale of 0.00458"
    ),
    '<unknown>:0: error: loc("{0}"): \'tf.Foo\' op is bad\n<unknown>:0: note: loc("x"): see': "'gate': the operation FOO: is bad",
}


@pytest.mark.parametrize("said", REFUSALS)
def test_a_refusal_of_the_converter_is_told_in_words(said, monkeypatch):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="sigmoid", name="gate")])
    traced = trace_model(model, specs_of(model))
    (name,) = {operation.name for operation in traced.function.graph.get_operations() if operation.type == "Sigmoid"}

    def convert(self):
        raise RuntimeError(said.replace("{0}", name))

    monkeypatch.setattr(tf.lite.TFLiteConverter, "convert", convert)
    with pytest.raises(tfopt.ConversionError) as raised:
        to_tflite(traced, Variant("float32", "float32"))
    assert f"in float32. Received: {REFUSALS[said]}. Try another quantization" in str(raised.value)
