"""Small Keras 2 models, and what their layers show after pruning and quantization-aware training."""

import warnings

import numpy as np
import tf_keras

import tfopt
from tfopt.conversion import export
from tfopt.data import signature
from tfopt.keras2.pruning_callbacks import pruning_callbacks
from tfopt.keras2.quantize_aware import quantize_aware
from tfopt.lowering import lower
from tfopt.lowering.trace import trace_model
from tfopt.tflite import op_audit
from tfopt.tflite.interpreter import Interpreter

layers = tf_keras.layers
IMAGE, SEQUENCE = (6, 6, 4), (6, 8)


class Double(layers.Layer):
    """A layer of the caller's own."""

    def call(self, inputs):
        return inputs * 2.0


def small(*inner, shape=(6, 4)):
    """A model of these layers that ends with a Dense."""
    return tf_keras.Sequential([layers.InputLayer(shape), *inner, layers.Dense(2, name="out")])


def wrap(make, shape):
    """A functional model of the layers that `make` calls, followed by a Dense."""
    tf_keras.utils.set_random_seed(1)
    inputs = tf_keras.Input(shape, name="data")
    return tf_keras.Model(inputs, layers.Dense(3, name="head")(layers.Flatten(name="flat")(make(inputs))))


def train(pruned, epochs=3, **options):
    """Trains a pruned model on noise, four steps an epoch."""
    rng = np.random.default_rng(0)
    pruned.compile(tf_keras.optimizers.SGD(0.1), "mse", **options)
    x, y = (rng.random((64, *shape[1:]), "float32") for shape in (pruned.input_shape, pruned.output_shape))
    return pruned.fit(x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=pruning_callbacks())


def sparsities(model):
    """Name of each weight -> its sparsity."""
    return {weight.name: round(weight.sparsity, 3) for weight in tfopt.sparsity_report(model).weights}


def draw(model):
    """48 samples of noise for a model."""
    return np.random.default_rng(0).normal(size=(48, *model.input_shape[1:])).astype("float32")


def quantized(model, **options):
    """(the quantization-aware model, the text of its warning); its ranges have seen one batch."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = quantize_aware(model, **options)
    texts = [str(each.message) for each in caught if "stay float" in str(each.message)]
    assert len(texts) < 2
    made(draw(model), training=True)
    return made, "".join(texts)


def to_int8(model, samples=None, skip=()):
    """The int8 file, converted in this process."""
    specs = signature.fix_sizes(signature.input_specs(model), 1)
    traced = trace_model(model, specs, lower.plan(model))
    samples = None if samples is None else {specs[0].name: samples}
    return Interpreter(export.to_tflite(traced, export.Variant("int8"), samples=samples, skip_lowering=skip).content)


def float_ops(interpreter):
    """Names of the operations that compute in float."""
    return [op.op for op in op_audit.examine(interpreter, (), "int8").float_ops]
