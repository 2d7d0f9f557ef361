"""Which weights are pruned by default, which axes are inputs, and why the others are left."""

import keras
import pytest
from keras import layers
from pruned_layers import Projection

import tfopt
from tfopt.pruning.prunable_weights import find_targets


def found(model, **options):
    targets, left = find_targets(model, tfopt.Unstructured(), **options)
    return [target.name for target in targets], left


def test_every_weight_is_pruned_or_listed():
    source = keras.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, name="conv")(source)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.SeparableConv2D(8, 3, name="separable")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Flatten()(x)
    x = Projection(8, name="own")(x)
    model = keras.Model(source, layers.Softmax()(layers.Dense(4, name="logits")(x)))
    names, left = found(model)
    assert names == ["conv/kernel", "separable/pointwise_kernel", "own/inner/kernel"]
    assert {name: reason.partition(";")[0] for name, reason in left.items()} == {
        "depthwise/kernel": "a depthwise kernel",
        "separable/depthwise_kernel": "a depthwise kernel",
        "own/projection": "a projection of Projection",
        "logits/kernel": "the output layer",
    }
    assert all("include it" in reason for reason in left.values())


def test_output_layers_of_all_kinds_of_models():
    def names(model, **options):
        return found(model, **options)[0]

    source = keras.Input((8,))
    trunk = layers.Dense(8, name="trunk")(source)
    one, two = layers.Dense(2, name="one")(trunk), layers.Activation("relu")(layers.Dense(2, name="two")(trunk))
    assert names(keras.Model(source, [one, two])) == ["trunk/kernel"]
    assert names(keras.Model(source, {"a": one, "b": two})) == ["trunk/kernel"]
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="deep"), layers.Dense(2, name="last")], name="inner")
    assert names(keras.Sequential([keras.Input((8,)), inner, layers.Softmax()])) == ["inner/deep/kernel"]
    sequence = keras.Sequential([keras.Input((4, 8)), layers.LSTM(8, return_sequences=True, name="lstm")])
    sequence.add(layers.TimeDistributed(layers.Dense(3, name="each"), name="time"))
    assert names(sequence) == ["lstm/lstm_cell/kernel", "lstm/lstm_cell/recurrent_kernel"]
    image = keras.Input((8, 8, 4))
    mask = layers.Conv2D(1, 1, name="mask")(layers.Conv2D(4, 3, padding="same", name="body")(image))
    assert names(keras.Model(image, keras.ops.sigmoid(mask))) == ["body/kernel"]  # a bare operation at the end


@pytest.mark.parametrize(
    "layer, shape, inputs",
    [
        (lambda: layers.Dense(4), (8,), (0,)),
        (lambda: layers.Conv2D(4, 3), (8, 8, 4), (0, 1, 2)),
        (lambda: layers.Conv2DTranspose(4, 3), (8, 8, 4), (0, 1, 3)),
        (lambda: layers.DepthwiseConv2D(3, name="it"), (8, 8, 4), (0, 1)),
        (lambda: layers.EinsumDense("abcd,cde->abe", (8, 4)), (8, 2, 4), (0, 1)),
        (lambda: layers.EinsumDense("...x,xyz->...yz", (2, 4)), (8, 4), (0,)),
        (lambda: layers.Embedding(8, 4, name="it"), (4,), (0,)),
    ],
    ids=["Dense", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "EinsumDense", "EinsumDense ellipsis", "Embedding"],
)
def test_the_axes_that_are_summed_over(layer, shape, inputs):
    made = layer()
    model = keras.Sequential([keras.Input(shape), made, layers.Flatten(), layers.Dense(2)])
    (target,), _ = find_targets(model, tfopt.Unstructured(), include=made.name)
    assert target.inputs == inputs


def test_a_model_without_weights_to_prune():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="only")])
    with pytest.raises(tfopt.ArgumentError, match="only/kernel: the output layer; include it to prune it"):
        found(model)
    with pytest.raises(tfopt.ArgumentError, match="no weights of rank 2 or more"):
        found(keras.Sequential([keras.Input((4,)), layers.BatchNormalization()]))


def test_frozen_weights_are_pruned_in_one_shot_only():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a"), layers.Dense(4, name="b"), layers.Dense(2)])
    model.get_layer("a").trainable = False
    assert found(model)[0] == ["a/kernel", "b/kernel"] and found(model, frozen=False)[0] == ["b/kernel"]
