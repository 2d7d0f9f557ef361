"""`drop_layers`: what is left computes as the same model built with fewer blocks, with the weights of those that stay."""

import keras
import numpy as np
import pytest
from keras import layers

import tfopt

RNG = np.random.default_rng(0)


def encoder(blocks):
    """BERT-like, with a mask that goes into every block; `blocks` are their numbers."""
    ids, mask = keras.Input((6,), dtype="int32", name="ids"), keras.Input((6,), dtype="bool", name="mask")
    x = layers.LayerNormalization(name="norm")(layers.Embedding(20, 8, name="embedding")(ids))
    attended = layers.Reshape((1, 6), name="mask_rows")(mask)
    for index in blocks:
        y = layers.MultiHeadAttention(2, 4, name=f"attention{index}")(x, x, attention_mask=attended)
        x = layers.LayerNormalization(name=f"norm{index}a")(layers.Add(name=f"add{index}a")([x, y]))
        y = layers.Dense(8, name=f"out{index}")(layers.Dense(16, activation="gelu", name=f"in{index}")(x))
        x = layers.LayerNormalization(name=f"norm{index}b")(x + y)
    return keras.Model([ids, mask], layers.Dense(3, name="head")(layers.GlobalAveragePooling1D(name="pool")(x)))


def masked_head(blocks):
    """As BERT for sentences: the mask goes into blocks and head, and what comes before the blocks looks like the end of one."""
    ids, mask = keras.Input((6,), dtype="int32", name="ids"), keras.Input((6,), dtype="bool", name="mask")
    x = layers.LayerNormalization(name="norm")(layers.Embedding(20, 8, name="embedding")(ids))
    keys = layers.Reshape((1, 6), name="keys")(mask)
    for index in blocks:
        y = layers.MultiHeadAttention(2, 4, name=f"attention{index}")(x, x, attention_mask=keys)
        x = layers.LayerNormalization(name=f"norm{index}")(layers.Add(name=f"add{index}")([x, y]))
    x = keras.ops.where(keras.ops.expand_dims(mask, -1), x, 0.0)
    return keras.Model([ids, mask], layers.UnitNormalization(name="unit")(layers.GlobalAveragePooling1D(name="pool")(x)))


def residual(blocks):
    """Two stages; `blocks` are the numbers of the identity blocks of each."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    for stage, numbers in enumerate(blocks):
        x = layers.Conv2D(4 << stage, 3, strides=2, padding="same", name=f"down{stage}")(x)
        for index in numbers:
            y = layers.Conv2D(4 << stage, 3, padding="same", activation="relu", name=f"conv{stage}{index}")(x)
            y = layers.BatchNormalization(name=f"bn{stage}{index}")(y)
            x = layers.Add(name=f"add{stage}{index}")([x, y])
    return keras.Model(image, layers.Dense(2, name="head")(layers.Flatten(name="flat")(x)))


def nested(blocks):
    """Blocks that are models."""
    model = keras.Sequential([keras.Input((5,))])
    for index in blocks:
        model.add(
            keras.Sequential(
                [keras.Input((5,)), layers.Dense(7, name=f"a{index}"), layers.Dense(5, name=f"b{index}")], name=f"block{index}"
            )
        )
    model.add(layers.Dense(2, name="head"))
    return model


DATA = {
    encoder: [RNG.integers(0, 20, (4, 6)), RNG.random((4, 6)) > 0.3],
    masked_head: [RNG.integers(0, 20, (4, 6)), RNG.random((4, 6)) > 0.3],
    residual: RNG.normal(size=(4, 8, 8, 3)).astype("float32"),
    nested: RNG.normal(size=(4, 5)).astype("float32"),
}


@pytest.mark.parametrize(
    ("build", "whole", "keep", "left"),
    [
        (encoder, range(4), 0.5, (0, 2)),
        (encoder, range(3), [0, 2], (0, 2)),
        (masked_head, range(6), 0.5, (0, 2, 4)),
        (residual, (range(4), range(2)), 0.5, ((0, 2), (0,))),
        (residual, (range(2), range(3)), [1, 2, 4], ((1,), (0, 2))),
        (nested, range(6), 0.5, (0, 2, 4)),
        (nested, range(6), 0.1, (0,)),
    ],
)
def test_equals_the_model_with_fewer_blocks(build, whole, keep, left, tmp_path):
    keras.utils.set_random_seed(0)
    model = build(whole)
    for weight in model.weights:
        weight.assign(weight + 0.1 * RNG.random(weight.shape))
    before = model.get_weights()
    small = tfopt.drop_layers(model, keep)
    expected = build(left)
    for layer in (layer for layer in expected.layers if layer.weights):
        layer.set_weights(model.get_layer(layer.name).get_weights())
    assert small.count_params() == expected.count_params() < model.count_params()
    np.testing.assert_allclose(small(DATA[build]), expected(DATA[build]), atol=1e-5)
    assert [layer.name for layer in small.layers if layer.weights] == [layer.name for layer in expected.layers if layer.weights]
    small.save(tmp_path / "small.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "small.keras")(DATA[build]), small(DATA[build]), atol=1e-6)
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_refuses_other_choices_and_lists_the_blocks():
    model = residual((range(2), range(2)))
    for keep in (1.0, 0, [4], [], "even", [0, 1, 2, 3]):
        with pytest.raises(tfopt.ArgumentError, match="0: conv00 to add00; 1: conv01 to add01; 2: conv10 to add10"):
            tfopt.drop_layers(model, keep)


def test_refuses_a_model_in_which_nothing_repeats():
    with pytest.raises(tfopt.ArgumentError, match="blocks that repeat"):
        tfopt.drop_layers(keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)]))
    with pytest.raises(tfopt.ArgumentError, match="Functional Keras 3 model"):
        tfopt.drop_layers(keras.Sequential([layers.Dense(3)]))


def test_a_block_whose_inside_is_used_elsewhere_stays():
    source = keras.Input((4,))
    a = layers.Dense(4, name="a")(source)
    b = layers.Dense(4, name="b")(a)
    c = layers.Dense(4, name="c")(b)
    model = keras.Model(source, layers.Add()([c, b]))
    small = tfopt.drop_layers(model, [0])
    x = RNG.normal(size=(2, 4)).astype("float32")
    first = model.get_layer("a")(x)
    np.testing.assert_allclose(small(x), model.get_layer("c")(first) + first, atol=1e-5)
