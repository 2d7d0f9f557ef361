"""Small nets of the kinds that people train quantization-aware; each takes images (12, 12, 1) or sequences (12, 12)."""

import keras

layers = keras.layers


def convolution(x, filters, stride=1, activation="relu", size=3):
    """Convolution, normalization, activation."""
    x = layers.Conv2D(filters, size, strides=stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.Activation(activation)(x) if activation else x


def depthwise(x, stride, activation):
    """The same, depthwise."""
    x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x)
    return layers.Activation(activation)(layers.BatchNormalization(momentum=0.9)(x))


def plain(x):
    return layers.GlobalAveragePooling2D()(convolution(convolution(convolution(x, 16), 32, 2), 32))


def residual(x):
    x = convolution(x, 16)
    for filters, stride in ((16, 1), (32, 2)):
        y = convolution(convolution(x, filters, stride), filters, activation=None)
        x = convolution(x, filters, stride, None, 1) if stride > 1 else x
        x = layers.ReLU()(layers.Add()([x, y]))
    return layers.GlobalAveragePooling2D()(x)


def inverted(x, activation, squeeze=None):
    """Inverted residual blocks; `squeeze` is the pair of activations of squeeze and excite."""
    x = convolution(x, 16, activation=activation)
    for filters, stride in ((16, 1), (24, 2)):
        y = depthwise(convolution(x, 48, 1, activation, 1), stride, activation)
        if squeeze:
            gate = layers.Conv2D(8, 1, activation=squeeze[0])(layers.GlobalAveragePooling2D(keepdims=True)(y))
            y = layers.Multiply()([y, layers.Conv2D(48, 1, activation=squeeze[1])(gate)])
        y = convolution(y, filters, 1, None, 1)
        x = layers.Add()([x, y]) if stride == 1 else y
    return layers.GlobalAveragePooling2D()(convolution(x, 64, 1, activation, 1))


def one_dimension(x):
    for filters, stride in ((16, 1), (32, 2)):
        x = layers.Conv1D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return layers.GlobalAveragePooling1D()(x)


def perceptron(x):
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layers.Dense(64)(x)))


def u_net(x):
    wide = convolution(x, 8)
    deep = layers.UpSampling2D()(convolution(layers.MaxPooling2D()(wide), 16))
    x = convolution(layers.Concatenate()([deep, wide]), 8)
    return layers.GlobalAveragePooling2D()(layers.Conv2DTranspose(8, 2, strides=2, activation="relu")(x))


def transformer(x):
    x = layers.Dense(16)(x)
    for _ in range(2):
        x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x)]))
        y = layers.Dense(16)(layers.Dense(32, activation="gelu")(x))
        x = layers.LayerNormalization()(layers.Add()([x, y]))
    return layers.GlobalAveragePooling1D()(x)


NETS = {
    "plain": plain, "resnet": residual, "mobilenet_v2": lambda x: inverted(x, "relu6"),
    "mobilenet_v3": lambda x: inverted(x, "hard_silu", ("relu", "hard_sigmoid")),
    "efficientnet": lambda x: inverted(x, "silu", ("silu", "sigmoid")), "u_net": u_net,
    "conv1d": one_dimension, "perceptron": perceptron,
    "transformer": transformer, "lstm": lambda x: layers.LSTM(24)(x), "gru": lambda x: layers.GRU(24)(x),
}  # fmt: skip
SEQUENCES = ("conv1d", "perceptron", "transformer", "lstm", "gru")
APPROXIMATE = ("transformer", "lstm", "gru")


def build(name, end=None):
    """The net `name`, with a Dense of 10 classes and the activation `end`."""
    keras.utils.set_random_seed(0)
    source = keras.Input((12, 12) if name in SEQUENCES else (12, 12, 1), name="image")
    return keras.Model(source, layers.Dense(10, activation=end, name="class")(NETS[name](source)))
