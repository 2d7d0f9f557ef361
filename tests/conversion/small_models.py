"""Small seeded Keras 3 models whose channels differ in range, each with data for it, for tests of post-training quantization."""

import keras
import numpy as np
from keras import layers

from tfopt.data import signature
from tfopt.lowering.trace import trace_model


def hard_case(spread=100.0, width=16):
    """A depthwise + swish net whose channels differ `spread`-fold in range, while each matters as much for the output.

    Every normalization scales its channels apart, and the weights that read them undo it, so that a float model does not care.
    """
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3), name="image")
    x = image
    for index, layer in enumerate((layers.Conv2D(width, 3, use_bias=False), layers.DepthwiseConv2D(3, use_bias=False))):
        x = layers.Activation("swish")(layers.BatchNormalization(name=f"normalization_{index}")(layer(x)))
    x = layers.Activation("swish")(layers.Conv2D(12, 1, name="mix")(x))
    model = keras.Model(image, layers.Dense(5, name="score")(layers.GlobalAveragePooling2D()(x)))
    generator = np.random.default_rng(0)
    for index, reader in enumerate((model.layers[4], model.get_layer("mix"))):
        scales = generator.permutation(np.geomspace(spread**-0.5, spread**0.5, width)).astype("float32")
        model.get_layer(f"normalization_{index}").gamma.assign(scales)
        reader.kernel.assign(reader.kernel.numpy() / scales[:, None])
    return model, {"image": generator.normal(size=(200, 12, 12, 3)).astype("float32")}


def perceptron():
    x = features = keras.Input((20,), name="features")
    x = layers.Dense(24, activation="gelu")(layers.Dense(32, activation="relu")(x))
    return _seeded(keras.Model(features, layers.Dense(4, activation="softmax")(x)))


def residual():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(image)))
    x = layers.ReLU()(layers.Add()([x, layers.Conv2D(8, 3, padding="same")(x)]))
    halves = [layers.MaxPooling2D()(x), layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)]
    x = layers.Conv2D(8, 1, groups=2, activation="relu")(layers.Concatenate()(halves))
    return _seeded(keras.Model(image, layers.Dense(4)(layers.Flatten()(x))))


def mobile():
    image = keras.Input((12, 12, 3), name="image")
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(image)))
    x = layers.DepthwiseConv2D(3, use_bias=False, depth_multiplier=2)(layers.ZeroPadding2D()(x))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(layers.Conv2D(8, 1)(x)))
    return _seeded(keras.Model(image, layers.Dense(4)(x)))


def one_dimensional():
    signal = keras.Input((30, 4), name="signal")
    x = layers.MaxPooling1D()(layers.Conv1D(8, 3, activation="relu")(signal))
    x = layers.Conv1D(8, 3, activation="swish")(x)
    return _seeded(keras.Model(signal, layers.Dense(4)(layers.Flatten()(x))))


def two_outputs():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.SeparableConv2D(12, 3, activation="relu")(layers.Conv2D(8, 3, activation="leaky_relu")(image))
    x = layers.GlobalAveragePooling2D()(x)
    kind, found = layers.Dense(4, name="z_kind")(x), layers.Dense(1, activation="sigmoid", name="a_found")(x)
    return _seeded(keras.Model(image, [kind, found]))


def gated():
    """Squeeze and excitation, and ops that no scale passes."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, activation="swish")(image)
    gate = layers.Conv2D(4, 1, activation="swish")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(gate)])
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, activation="hard_swish")(x))
    x = layers.UpSampling2D()(layers.Conv2DTranspose(6, 3)(x))
    return _seeded(keras.Model(image, layers.Dense(4)(layers.GlobalMaxPooling2D()(x))))


SMALL = (perceptron, residual, mobile, one_dimensional, two_outputs, gated)


def _seeded(model, samples=120):
    """The model with weights and statistics that make its channels differ, and normal data for it."""
    generator = np.random.default_rng(1)
    for variable in model.weights:
        size = variable.shape
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(np.exp(generator.normal(size=size)))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(0.3 * generator.normal(size=size))
        else:
            variable.assign(generator.normal(size=size) / np.sqrt(np.prod(size[:-1])))
    data = {tensor.name: generator.normal(size=(samples, *tensor.shape[1:])).astype("float32") for tensor in model.inputs}
    return model, data


def trace(model, batch_size=1):
    return trace_model(model, signature.fix_sizes(signature.input_specs(model), batch_size))


def rows(data, start, end):
    return {name: array[start:end] for name, array in data.items()}


def sqnr(wanted, outputs):
    """dB of each output, by the formula and not by tfopt."""
    return [
        float(10 * np.log10((one.astype(float) ** 2).sum() / ((one.astype(float) - other) ** 2).sum()))
        for one, other in zip(wanted, outputs, strict=True)
    ]


def predict(model, data):
    outputs = model.predict(next(iter(data.values())) if isinstance(data, dict) else data, verbose=0)
    return outputs if isinstance(outputs, list) else [outputs]
