"""Whole models as people build them, each by a function without arguments."""

import keras

layers = keras.layers


def transformer_block(x, heads=2, size=8, wide=32):
    """Pre-norm attention and a GELU perceptron, each with a residual connection (arXiv:1706.03762)."""
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(heads, size)(y, y)])
    y = layers.Dense(wide, activation="gelu")(layers.LayerNormalization()(x))
    return layers.Add()([x, layers.Dense(x.shape[-1])(y)])


def transformer():
    source = keras.Input((10, 16))
    return keras.Model(source, layers.Dense(4)(layers.GlobalAveragePooling1D()(transformer_block(source))))


def vision_transformer():
    source = keras.Input((16, 16, 3))
    x = layers.Reshape((16, 16))(layers.Conv2D(16, 4, strides=4)(source))
    x = transformer_block(transformer_block(x))
    return keras.Model(source, layers.Dense(5)(layers.Flatten()(layers.LayerNormalization()(x))))


def dilated():
    source = keras.Input((48, 4))
    x = layers.Conv1D(8, 1)(source)
    for dilation in (1, 2, 4, 8):
        y = layers.Conv1D(8, 3, padding="causal", dilation_rate=dilation, activation="relu")(x)
        x = layers.Add()([x, layers.Conv1D(8, 1)(y)])
    return keras.Model(source, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def u_net():
    source = keras.Input((16, 16, 3))
    wide = layers.Conv2D(8, 3, padding="same", activation="relu")(source)
    deep = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(wide))
    joined = layers.Concatenate()([wide, layers.UpSampling2D()(deep)])
    return keras.Model(source, layers.Conv2D(2, 1)(layers.Conv2D(8, 3, padding="same", activation="relu")(joined)))


def two_in_two_out():
    left, right = keras.Input((6,), name="left"), keras.Input((9,), name="right")
    x = layers.Concatenate()([layers.Dense(8, activation="relu")(left), layers.Dense(8, activation="tanh")(right)])
    return keras.Model([left, right], [layers.Dense(2, name="u")(x), layers.Dense(3, name="v")(x)])


def nested():
    inner = keras.Sequential([layers.Conv2D(8, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()], name="inner")
    source = keras.Input((8, 8, 4))
    return keras.Model(source, layers.Dense(3)(layers.GlobalAveragePooling2D()(inner(layers.Conv2D(4, 1)(source)))))


class Scale(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=shape[-1:], initializer="random_normal")

    def call(self, inputs):
        return inputs * (1.0 + self.factor)


def custom_layer():
    return keras.Sequential([keras.Input((8,)), layers.Dense(12, activation="relu"), Scale(), layers.Dense(3)])


def nested_dicts():
    inputs = {"image": keras.Input((6, 6, 2), name="image"), "more": {"row": keras.Input((5,), name="row")}}
    x = layers.Concatenate()([layers.Flatten()(layers.Conv2D(4, 3)(inputs["image"])), inputs["more"]["row"]])
    return keras.Model(inputs, layers.Dense(3)(x))


def recurrent(layer):
    return lambda: keras.Sequential([keras.Input((10, 6)), layer(), layers.Dense(4)])


MODELS = {
    "transformer": transformer,
    "vision transformer": vision_transformer,
    "dilated": dilated,
    "u-net": u_net,
    "two in, two out": two_in_two_out,
    "nested": nested,
    "custom layer": custom_layer,
    "nested dicts": nested_dicts,
    "lstm": recurrent(lambda: layers.LSTM(16)),
    "gru": recurrent(lambda: layers.GRU(16)),
    "bidirectional": recurrent(lambda: layers.Bidirectional(layers.LSTM(12))),
    "convlstm": lambda: keras.Sequential(
        [keras.Input((4, 8, 8, 2)), layers.ConvLSTM2D(4, 3, padding="same"), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    ),
}
