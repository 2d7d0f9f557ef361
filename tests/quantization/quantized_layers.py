"""Every layer that quantization-aware training meets, as a small model of it, and how far its file may be from it."""

import keras
import numpy as np
from keras import layers, ops

from tfopt import quantize_aware
from tfopt.checking.output_errors import Tally
from tfopt.conversion import export
from tfopt.data import signature
from tfopt.lowering import lower
from tfopt.lowering.trace import trace_model
from tfopt.quantization.bake import baked
from tfopt.tflite import op_audit
from tfopt.tflite.interpreter import Interpreter


@keras.saving.register_keras_serializable("tests")
class Gated(layers.Layer):
    """A custom layer with a weight of its own, a Dense inside and operations of its own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = layers.Dense(units, activation="relu", name="inner")

    def build(self, shape):
        self.projection = self.add_weight(shape=(shape[-1], self.units), name="projection")
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x) * ops.sigmoid(ops.matmul(x, self.projection))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def activation(name):
    """Case of an activation function after a convolution."""
    return (6, 6, 4), lambda x: layers.Activation(name)(layers.Conv2D(8, 3)(x))


def two(merge):
    """Case of a layer that merges two branches."""
    return (6, 6, 4), lambda x: merge([layers.Conv2D(8, 3)(x), layers.Conv2D(8, 3, activation="relu")(x)])


IMAGE, SEQUENCE, SHORT, VOLUME = (6, 6, 4), (6, 8), (4, 8), (4, 4, 4, 2)

# name -> (input shape, function from the input to the layer's output)
CASES = {
    "Dense": ((8,), lambda x: layers.Dense(8)(x)),
    "EinsumDense": (SEQUENCE, lambda x: layers.EinsumDense("abc,cde->abde", (6, 2, 4), bias_axes="de")(x)),
    "Conv1D": (SEQUENCE, lambda x: layers.Conv1D(8, 3)(x)),
    "Conv2D": (IMAGE, lambda x: layers.Conv2D(8, 3)(x)),
    "Conv2D, groups": (IMAGE, lambda x: layers.Conv2D(8, 3, groups=2)(x)),
    "Conv3D": (VOLUME, lambda x: layers.Conv3D(4, 2)(x)),
    "Conv1DTranspose": (SEQUENCE, lambda x: layers.Conv1DTranspose(4, 3)(x)),
    "Conv2DTranspose": (IMAGE, lambda x: layers.Conv2DTranspose(4, 3, strides=2)(x)),
    "DepthwiseConv1D": (SEQUENCE, lambda x: layers.DepthwiseConv1D(3)(x)),
    "DepthwiseConv2D": (IMAGE, lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(x)),
    "SeparableConv1D": (SEQUENCE, lambda x: layers.SeparableConv1D(8, 3)(x)),
    "SeparableConv2D": (IMAGE, lambda x: layers.SeparableConv2D(8, 3, activation="relu")(x)),
    "Embedding": ((6,), lambda x: layers.Embedding(8, 8)(x)),
    "MultiHeadAttention": (SEQUENCE, lambda x: layers.MultiHeadAttention(2, 4)(x, x)),
    "MultiHeadAttention, causal": (SEQUENCE, lambda x: layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)),
    "GroupedQueryAttention": (SEQUENCE, lambda x: layers.GroupQueryAttention(4, 4, 2)(x, x)),
    "Attention": (SEQUENCE, lambda x: layers.Attention()([x, layers.Dense(8)(x)])),
    "LSTM": (SHORT, lambda x: layers.LSTM(8)(x)),
    "GRU": (SHORT, lambda x: layers.GRU(8)(x)),
    "SimpleRNN": (SHORT, lambda x: layers.SimpleRNN(8)(x)),
    "Bidirectional": (SHORT, lambda x: layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)),
    "ConvLSTM1D": ((3, 5, 2), lambda x: layers.ConvLSTM1D(4, 3)(x)),
    "TimeDistributed": (SEQUENCE, lambda x: layers.TimeDistributed(layers.Dense(4))(x)),
    "PReLU": (IMAGE, lambda x: layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(8, 3)(x))),
    "BatchNormalization": (IMAGE, lambda x: layers.BatchNormalization()(x)),
    "BatchNormalization, rank 2": ((8,), lambda x: layers.BatchNormalization()(x)),
    "Conv-BN": (IMAGE, lambda x: layers.BatchNormalization()(layers.Conv2D(8, 3)(x))),
    "Conv1D-BN": (SEQUENCE, lambda x: layers.BatchNormalization()(layers.Conv1D(8, 3, use_bias=False)(x))),
    "Dense-BN": ((8,), lambda x: layers.BatchNormalization()(layers.Dense(8)(x))),
    "Transpose-BN": (IMAGE, lambda x: layers.BatchNormalization()(layers.Conv2DTranspose(4, 3)(x))),
    "LayerNormalization": (SEQUENCE, lambda x: layers.LayerNormalization()(x)),
    "GroupNormalization": (IMAGE, lambda x: layers.GroupNormalization(2)(x)),
    "RMSNormalization": (SEQUENCE, lambda x: layers.RMSNormalization()(x)),
    "UnitNormalization": (SEQUENCE, lambda x: layers.UnitNormalization()(x)),
    "Rescaling": (IMAGE, lambda x: layers.Rescaling(0.5, offset=-0.1)(x)),
    "custom": ((8,), lambda x: Gated(8)(x)),
    "Add": two(layers.Add()),
    "Subtract": two(layers.Subtract()),
    "Multiply": two(layers.Multiply()),
    "Average": two(layers.Average()),
    "Maximum": two(layers.Maximum()),
    "Minimum": two(layers.Minimum()),
    "Concatenate": two(layers.Concatenate()),
    "Dot": (SEQUENCE, lambda x: layers.Dot(axes=2)([x, layers.Dense(8)(x)])),
    "MaxPooling1D": (SEQUENCE, lambda x: layers.MaxPooling1D()(x)),
    "MaxPooling2D": (IMAGE, lambda x: layers.MaxPooling2D()(layers.Conv2D(8, 3)(x))),
    "MaxPooling3D": (VOLUME, lambda x: layers.MaxPooling3D()(x)),
    "AveragePooling1D": (SEQUENCE, lambda x: layers.AveragePooling1D(2)(x)),
    "AveragePooling2D": (IMAGE, lambda x: layers.AveragePooling2D(2)(layers.Conv2D(8, 3)(x))),
    "GlobalMaxPooling1D": (SEQUENCE, lambda x: layers.GlobalMaxPooling1D()(x)),
    "GlobalMaxPooling2D": (IMAGE, lambda x: layers.GlobalMaxPooling2D()(x)),
    "GlobalAveragePooling1D": (SEQUENCE, lambda x: layers.GlobalAveragePooling1D()(x)),
    "GlobalAveragePooling2D": (IMAGE, lambda x: layers.GlobalAveragePooling2D()(x)),
    "Reshape": (SEQUENCE, lambda x: layers.Reshape((4, 12))(x)),
    "Permute": (SEQUENCE, lambda x: layers.Permute((2, 1))(x)),
    "RepeatVector": ((8,), lambda x: layers.RepeatVector(3)(x)),
    "ZeroPadding2D": (IMAGE, lambda x: layers.ZeroPadding2D()(layers.Conv2D(8, 3)(x))),
    "Cropping2D": (IMAGE, lambda x: layers.Cropping2D()(x)),
    "UpSampling2D": (IMAGE, lambda x: layers.UpSampling2D()(x)),
    "Resizing": (IMAGE, lambda x: layers.Resizing(9, 9)(x)),
    "Dropout": (IMAGE, lambda x: layers.Dropout(0.2)(layers.Conv2D(8, 3)(x))),
    "ReLU": (IMAGE, lambda x: layers.ReLU()(layers.Conv2D(8, 3)(x))),
    "ReLU, capped": (IMAGE, lambda x: layers.ReLU(6.0)(layers.Conv2D(8, 3)(x))),
    "LeakyReLU": (IMAGE, lambda x: layers.LeakyReLU()(layers.Conv2D(8, 3)(x))),
    "ELU": (IMAGE, lambda x: layers.ELU()(layers.Conv2D(8, 3)(x))),
    "Softmax": (SEQUENCE, lambda x: layers.Softmax()(layers.Dense(8)(x))),
    **{
        f"activation {name}": activation(name)
        for name in (
            "relu", "relu6", "sigmoid", "tanh", "softmax", "silu", "hard_silu", "hard_sigmoid", "gelu", "elu", "selu", "softplus",
            "softsign", "exponential", "mish", "leaky_relu",
        )
    },
    "keras.ops": (IMAGE, lambda x: ops.transpose(ops.relu(x * 0.5 + 1.0) - x, (0, 2, 1, 3))),
}  # fmt: skip


def build(name):
    """(model, inputs, targets) of a case: the layer, and a Dense after it so that all layers before it have a gradient."""
    keras.utils.set_random_seed(1)
    shape, make = CASES[name]
    inputs = keras.Input(shape, dtype="int32" if name == "Embedding" else None)
    outputs = layers.Dense(3, name="head")(layers.Flatten()(make(inputs)))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 8, (200, *shape)) if name == "Embedding" else rng.normal(size=(200, *shape)).astype("float32")
    return keras.Model(inputs, outputs), x, rng.normal(size=(200, 3)).astype("float32")


def trained(model, x, y, *, epochs=2, rate=1e-2, loss="mse", run_eagerly=False, **options):
    """The quantization-aware model of `model`, trained for a moment."""
    qat = quantize_aware(model, **options)
    qat.compile(keras.optimizers.Adam(rate), loss, run_eagerly=run_eagerly)
    qat.fit(x, y, batch_size=50, epochs=epochs, verbose=0)
    return qat


def to_int8(qat, calibration=None):
    """An `Interpreter` of the int8 file of a quantization-aware model."""
    return Interpreter(to_bytes(qat, calibration))


def to_bytes(qat, calibration=None):
    """The int8 file of a quantization-aware model, converted in this process."""
    form = baked(qat)
    specs = signature.fix_sizes(signature.input_specs(form), 1)
    lowering = lower.plan(form)
    samples = None if calibration is None else named(specs, calibration)
    return export.to_tflite(trace_model(form, specs, lowering), export.Variant("int8"), samples=samples).content


def named(specs, data):
    """`data`, an array or a list of them, by the names of the inputs."""
    arrays = zip(specs, data if isinstance(data, list) else [data], strict=True)
    return {spec.name: array.astype(spec.dtype) for spec, array in arrays}


def parity(qat, interpreter, data):
    """`OutputNumbers` of each output of the file against the quantization-aware model."""
    specs = signature.fix_sizes(signature.input_specs(qat), 1)
    arrays = named(specs, data)
    tally = Tally(interpreter, compared=True)
    wanted = [np.asarray(output) for output in keras.tree.flatten(qat(data, training=False))]
    for row in range(len(wanted[0])):
        batch = {name: array[row : row + 1] for name, array in arrays.items()}
        tally.add(batch, lambda batch, row=row: [output[row : row + 1] for output in wanted], [None])
    return tally.numbers()


def float_ops(interpreter):
    """Names of the ops that stayed float in a file."""
    return [op.op for op in op_audit.examine(interpreter, (), "int8").float_ops]
