"""`prune` of Keras 2 models: patterns, selection, plans, and arguments that are refused."""

import keras
import numpy as np
import pytest
import tf_keras
from keras2_models import layers, small, sparsities, train

import tfopt
from tfopt.keras2 import door
from tfopt.keras2.prune import prune
from tfopt.keras2.pruning_callbacks import pruning_callbacks
from tfopt.keras2.strip import strip
from tfopt.keras2.tfmot_layers import pruning_wrappers

tfmot = door.tfmot().sparsity.keras


def pruned_weights(pruned):
    """{layer: [variables that are pruned]}."""
    return {
        wrapper.layer.name: [weight.name.rpartition("/")[2].partition(":")[0] for weight, *_ in wrapper.pruning_vars]
        for wrapper in pruning_wrappers(pruned)
    }


def test_selection_and_plan():
    model = small(layers.DepthwiseConv1D(3, name="depthwise"), layers.Dense(8, name="a"), layers.Dense(8, name="b"))
    schedule = tfopt.ConstantSparsity(0.5)
    assert pruned_weights(prune(model, schedule)) == {"a": ["kernel"], "b": ["kernel"]}
    assert pruned_weights(prune(model, schedule, exclude="a")) == {"b": ["kernel"]}
    found = pruned_weights(prune(model, schedule, include=["depthwise", "out"]))
    assert found == {"depthwise": ["depthwise_kernel"], "out": ["kernel"]}
    planned = prune(model, tfopt.ConstantSparsity({"a": 0.25, "b": 0.75}))
    train(planned, epochs=1)
    assert {name: share for name, share in sparsities(strip(planned)).items() if share} == {"a/kernel": 0.25, "b/kernel": 0.75}
    with pytest.raises(tfopt.ArgumentError, match="exclude must match layers.*Closest: depthwise"):
        prune(model, schedule, exclude="depthwize")
    lstm = small(layers.LSTM(8, name="lstm"))
    names = [weight.name for weight in tfopt.sparsity_report(lstm).weights if weight.name.startswith("lstm")]
    with pytest.raises(tfopt.ArgumentError, match="a plan must name layers"):
        prune(lstm, tfopt.ConstantSparsity({names[0]: 0.5}))


def test_nested_and_shared_and_wrapped_layers():
    inner = tf_keras.Sequential([layers.InputLayer((6, 8)), layers.Dense(8, name="deep")], name="inner")
    image = tf_keras.Input((6, 4))
    shared = layers.Dense(8, name="shared")
    hidden = inner(shared(shared(layers.Dense(8, name="first")(image))))
    hidden = layers.Bidirectional(layers.GRU(8, name="gru", return_sequences=True), name="both")(hidden)
    hidden = layers.MultiHeadAttention(2, 4, name="attention")(hidden, hidden)
    hidden = layers.TimeDistributed(layers.Dense(8, name="timed"), name="each")(hidden)
    pruned = prune(tf_keras.Model(image, layers.Dense(2, name="out")(hidden)), tfopt.PolynomialDecay(0.5, end=1.0))
    history = train(pruned, epochs=1, run_eagerly=True)  # tracing takes longer
    stripped = strip(pruned)
    found = sparsities(stripped)
    kernels = [name for name in found if name.endswith("kernel")]
    assert len(kernels) == 3 + 4 + 4 + 1 + 1
    assert [name for name in kernels if found[name] != 0.5] == ["out/kernel"]
    assert history.history["sparsity"][-1] == pytest.approx(0.5)
    x = np.ones((2, 6, 4), "float32")
    np.testing.assert_allclose(stripped(x), pruned(x, training=False), atol=1e-6)


def test_blocks_and_n_by_m():
    block = prune(small(layers.Dense(16, name="a"), shape=(8,)), tfopt.PolynomialDecay(0.5, end=1.0), pattern=tfopt.Block((2, 4)))
    train(block)
    kernel = strip(block).layers[0].kernel.numpy()
    zeros = (kernel.reshape(4, 2, 4, 4) == 0).sum(axis=(1, 3))
    assert sorted(zeros.ravel()) == [0] * 8 + [8] * 8
    model = small(layers.Conv2D(8, 3, name="a"), layers.Flatten(), layers.Dense(8, name="b"), shape=(6, 6, 4))
    pruned = prune(model, tfopt.ConstantSparsity(0.75), pattern=tfopt.NByM(1, 4))
    train(pruned, epochs=1)
    for name in ("a", "b"):
        kernel = strip(pruned).get_layer(name).kernel.numpy()
        groups = np.moveaxis(kernel, -1, 0).reshape(-1, 4)
        assert set(np.count_nonzero(groups, axis=1)) == {1}


@pytest.mark.parametrize(
    "layer, pattern, reason",
    [
        ("Conv2D", tfopt.Block((2, 2)), r"blocks only in matrices .* Received: a/kernel of shape \(3, 3, 4, 8\)"),
        ("Dense", tfopt.Block((4, 1)), r"at least two blocks along each side. Received: a/kernel of shape \(4, 8\)"),
        ("Conv1D", tfopt.NByM(2, 4), r"N of M only along input channels .* Received: a/kernel of shape \(3, 4, 8\)"),
        ("Conv2D", tfopt.NByM(3, 6), r"a multiple of 6. Received: a/kernel of shape \(3, 3, 4, 8\)"),
    ],
)
def test_patterns_that_tfmot_cannot_make_are_refused(layer, pattern, reason):
    sizes = (8,) if layer == "Dense" else (8, 3)
    shape = (8, 8, 4) if layer == "Conv2D" else (8, 4)
    model = small(getattr(layers, layer)(*sizes, name="a"), layers.Flatten(), shape=shape)
    with pytest.raises(tfopt.ArgumentError, match=reason):
        prune(model, tfopt.ConstantSparsity(0.5), pattern=pattern)


class Net(tf_keras.Model):
    """A subclassed model."""

    def __init__(self, **options):
        super().__init__(**options)
        self.deep = layers.Dense(8, name="deep")

    def call(self, x):
        return self.deep(x)

    def get_config(self):
        return {"name": self.name}


def test_layers_that_tfmot_cannot_wrap_are_refused():
    source = tf_keras.Input((8,))
    model = tf_keras.Model(source, layers.Dense(2)(Net(name="net")(source)))
    with pytest.raises(tfopt.ArgumentError, match=r"without subclassed models inside. Received: net/deep/kernel in net \(Net\)"):
        prune(model, tfopt.ConstantSparsity(0.5))
    model = small(layers.Bidirectional(layers.SimpleRNN(4, name="rnn"), name="both"))
    names = sorted({name.rpartition("/")[0] for name in sparsities(model) if name.startswith("both")})
    with pytest.raises(tfopt.ArgumentError, match=r"the same sparsity. Received: both \(Bidirectional\), with .*kernel 0.25"):
        prune(model, tfopt.ConstantSparsity({names[0]: 0.25, names[1]: 0.5}))


def test_the_callers_model_stays_and_the_stripped_one_is_plain(tmp_path):
    model = small(layers.Dense(16, name="a"))
    before = model.get_weights()
    pruned = prune(model, tfopt.ConstantSparsity(0.5))
    train(pruned, epochs=1)
    assert [layer.name for layer in model.layers] == ["a", "out"]
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
    stripped = strip(pruned)
    assert [type(layer) for layer in stripped.layers] == [layers.Dense] * 2
    assert sparsities(stripped) == {"a/kernel": 0.5, "out/kernel": 0.0}
    x = np.ones((2, 6, 4), "float32")
    for name in ("model.h5", "model.keras"):
        stripped.save(tmp_path / name)
        again = tf_keras.models.load_model(tmp_path / name, compile=False)
        np.testing.assert_allclose(again(x), pruned(x, training=False), atol=1e-6)


def test_each_keras_is_told_the_call_that_serves_it():
    new = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)])
    new.compile("sgd", "mse")
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    for name, call in {
        "prune": lambda: prune(new, tfopt.ConstantSparsity(0.5)),
        "strip": lambda: strip(new),
        "pruning_callbacks": lambda: new.fit(x, y, verbose=0, callbacks=pruning_callbacks()),
    }.items():
        with pytest.raises(
            tfopt.ArgumentError, match=rf"tfopt\.legacy\.{name} serves Keras 2 .*tfopt\.PruningCallback\(schedule\)"
        ):
            call()
    model = small(layers.Dense(8), shape=(4,))
    model.compile("sgd", "mse")
    for callback in (tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)), tfopt.PreserveSparsity()):
        with pytest.raises(tfopt.ArgumentError, match=r"serves Keras 3 models.*tfopt\.legacy\.prune"):
            model.fit(x, y, verbose=0, callbacks=[callback])


def test_wrong_arguments():
    model = small(layers.Dense(8, name="a"))
    schedule = tfopt.ConstantSparsity(0.5)
    for message, call in {
        "schedule must be tfopt.ConstantSparsity": lambda: prune(model, 0.5),
        "frequency must be None or an int above 0": lambda: prune(model, schedule, frequency=0),
        "pattern must be": lambda: prune(model, schedule, pattern=(2, 4)),
        "only end with a sparsity of 0.75": lambda: prune(model, schedule, pattern=tfopt.NByM(1, 4)),
        "at the first step and not gradually": lambda: prune(model, tfopt.PolynomialDecay(0.5), pattern=tfopt.NByM(2, 4)),
        "must not be under pruning yet": lambda: prune(prune(model, schedule), schedule),
        "must come from tfopt.legacy.prune or tfopt.legacy.quantize_aware. Received: .*a plain one": lambda: strip(model),
        "needs a built Sequential or functional": lambda: prune(tf_keras.Sequential([layers.Dense(2)]), schedule),
        "Received: str": lambda: prune("model.h5", schedule),
        "which has no pruned layer": lambda: train(model),
        "with a schedule of tfmot": lambda: train(
            tfmot.prune_low_magnitude(small(layers.Dense(8)), tfmot.ConstantSparsity(0.5, 0))
        ),
    }.items():
        with pytest.raises(tfopt.ArgumentError, match=message):
            call()
