"""Every layer of a model is found once, whatever it is nested or wrapped in."""

import keras
import pytest
import tf_keras

from tfopt.keras_model.walk import inner_layers, short_names, walk, walk_layers, walk_operations


def dense(framework, name):
    return framework.layers.Dense(4, name=name)


def flat(framework):
    row = framework.Input((4,), name="row")
    return framework.Model(row, dense(framework, "second")(dense(framework, "first")(row)))


def nested(framework):
    inner = framework.Sequential([dense(framework, "inner")], name="middle")
    row, other = framework.Input((4,), name="row"), framework.Input((4,), name="other")
    outer = framework.Model(other, inner(dense(framework, "before")(other)), name="outer")
    return framework.Model(row, dense(framework, "after")(outer(row)))


def shared(framework):
    row, layer = framework.Input((4,), name="row"), dense(framework, "shared")
    return framework.Model(row, layer(layer(dense(framework, "first")(row))))


def shared_by_two_models(framework):
    row, layer = framework.Input((4,), name="row"), dense(framework, "shared")
    left = framework.Sequential([layer], name="left")
    right = framework.Sequential([layer, dense(framework, "own")], name="right")
    return framework.Model(row, right(left(row)))


def time_distributed(framework):
    rows = framework.Input((5, 4), name="rows")
    inner = framework.Sequential([framework.Input((4,)), dense(framework, "inner")], name="body")
    return framework.Model(rows, framework.layers.TimeDistributed(inner, name="each")(rows))


def bidirectional(framework):
    rows = framework.Input((5, 4), name="rows")
    cell = framework.layers.SimpleRNNCell(3, name="cell")
    return framework.Model(rows, framework.layers.Bidirectional(framework.layers.RNN(cell, name="rnn"), name="both")(rows))


def stacked_cells(framework):
    rows = framework.Input((5, 4), name="rows")
    cells = [framework.layers.SimpleRNNCell(3, name="lower"), framework.layers.SimpleRNNCell(2, name="upper")]
    return framework.Model(rows, framework.layers.RNN(cells, name="rnn")(rows))


def subclassed(framework):
    class Model(framework.Model):
        def __init__(self):
            super().__init__()
            self.first = dense(framework, "first")
            self.body = framework.Sequential([dense(framework, "inner")], name="body")
            self.more = [dense(framework, "third"), dense(framework, "fourth")]

        def call(self, inputs):
            for layer in (self.first, self.body, *self.more):
                inputs = layer(inputs)
            return inputs

    return Model()


def composite(framework):
    class Block(framework.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self._first = dense(framework, "first")
            self.body = framework.Sequential([dense(framework, "inner")], name="body")
            self.more = [dense(framework, "second"), {"deep": (dense(framework, "third"), self._first)}]

        def call(self, inputs):
            return self.more[1]["deep"][0](self.more[0](self.body(self._first(inputs))))

    row = framework.Input((4,), name="row")
    return framework.Model(row, Block(name="block_1")(Block(name="block_0")(row)))


MODELS = {
    flat: ["first", "second"],
    nested: ["outer", "before", "middle", "inner", "after"],
    shared: ["first", "shared"],
    shared_by_two_models: ["left", "shared", "right", "own"],
    time_distributed: ["each", "body", "inner"],
    # Keras builds and runs two copies of the layer that it was given, not that layer itself.
    bidirectional: ["both", "forward_rnn", "cell", "backward_rnn", "cell"],
    stacked_cells: ["rnn", "lower", "upper"],
    subclassed: ["first", "body", "inner", "third", "fourth"],
    composite: [name for block in ("block_0", "block_1") for name in (block, "first", "body", "inner", "second", "third")],
}


@pytest.mark.parametrize(("build", "names"), MODELS.items(), ids=[build.__name__ for build in MODELS])
def test_walk_finds_every_layer_once_and_depth_first(build, names, framework):
    model = build(framework)
    layers = list(walk_layers(model))
    assert model not in layers and len({id(layer) for layer in layers}) == len(layers)
    passive = ("InputLayer", "StackedRNNCells")
    assert [layer.name for layer in layers if type(layer).__name__ not in passive] == names


def test_walk_does_not_change_the_model(framework):
    model = nested(framework)
    before = model.to_json(), [id(variable) for variable in model.variables]
    layers = list(walk_layers(model))
    assert [id(layer) for layer in walk_layers(model)] == [id(layer) for layer in layers]
    assert (model.to_json(), [id(variable) for variable in model.variables]) == before


def test_layers_are_found_in_attributes_lists_and_dicts():
    class Holder(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.one = dense(keras, "one")
            self.several = [dense(keras, "two"), {"deep": (dense(keras, "three"), self.one)}]
            self.number = 3

    assert sorted(layer.name for layer in inner_layers(Holder())) == ["one", "three", "two"]
    layer = keras.layers.Bidirectional(keras.layers.LSTM(2, name="lstm"))
    assert {each.name for each in inner_layers(layer)} >= {"forward_lstm", "backward_lstm"}


def test_attributes_whose_names_begin_like_those_of_checkpoints():
    class Decoder(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self._self_attention_layer = dense(keras, "attention")

    assert [layer.name for layer in inner_layers(Decoder())] == ["attention"]


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_operations_outside_layers_are_found(kind):
    row = keras.Input((4,))
    inner = keras.Model(row, keras.ops.relu(dense(keras, "inner")(row)) + 1.0)
    outer = {
        "functional": lambda: keras.Model(row, keras.ops.exp(inner(row))),
        "sequential": lambda: keras.Sequential([keras.Input((4,)), inner]),
    }
    found = [type(operation).__name__ for operation in walk_operations(outer[kind]())]
    assert sorted(found) == (["Add", "Relu"] if kind == "sequential" else ["Add", "Exp", "Relu"])


def test_paths_are_made_of_names(framework):
    paths = [place.path for place in walk(composite(framework)) if "row" not in place.path]
    own = ["first", "body", "body/inner", "second", "third"]
    assert paths == [path for block in ("block_0", "block_1") for path in (block, *(f"{block}/{each}" for each in own))]
    rows = framework.Input((5, 4))
    wrapped = framework.Model(rows, framework.layers.TimeDistributed(dense(framework, "each"), name="each")(rows))
    assert [place.path for place in walk(wrapped)][-2:] == ["each", "each"]


def test_attributes_tell_layers_of_one_name_apart():
    class Twins(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="twins")
            self._query = dense(keras, "same")
            self.parts = {"a": [dense(keras, "same"), dense(keras, "other")]}

    model = keras.Sequential([Twins()])
    assert [place.path for place in walk(model)] == ["twins", "twins/query", "twins/parts_a_0", "twins/other"]
    assert sorted(short_names(model).values()) == ["other", "twins", "twins/parts_a_0", "twins/query"]


def test_layers_that_hold_the_layer_around_them_or_one_beside_them():
    class Child(keras.layers.Layer):
        def __init__(self, name, **held):
            super().__init__(name=name)
            for key, layer in held.items():
                setattr(self, key, layer)

        def call(self, inputs):
            return inputs

        @property
        def broken(self):
            raise ValueError("not yet")

    embedding = keras.layers.Embedding(5, 4, name="embedding")
    outer = Child("outer", head=Child("head", embedding=embedding))
    object.__setattr__(outer.head, "around", outer)  # Keras itself cannot track a circle
    ids = keras.Input((3,), name="ids")
    head = Child("above", embedding=embedding, outer=outer)
    model = keras.Model(ids, head(embedding(ids)))
    assert [place.path for place in walk(model)] == ["ids", "embedding", "above", "above/outer", "above/outer/head"]


def test_metrics_of_keras_2_are_no_layers():
    model = tf_keras.Sequential([dense(tf_keras, "one")])
    model.own, model.build_shape = tf_keras.metrics.Mean(name="mean"), (None, 4)
    model.build((None, 4))
    assert [layer.name for layer in walk_layers(model)] == ["one"]
