"""`PreserveSparsity` keeps the zeros of the beginning, alone and beside a `PruningCallback`."""

import keras
import numpy as np
import pytest
from small_net import Zeros, build, compiled, fit, zeros

import tfopt


def test_zeros_are_kept(data):
    model = compiled(tfopt.prune(build(), 0.5, include="*"))
    before = [layer.kernel.numpy() == 0 for layer in model.layers]
    history = fit(model, data, tfopt.PreserveSparsity(), epochs=3)
    for layer, zero in zip(model.layers, before, strict=True):
        assert not layer.kernel.numpy()[zero].any() and zero.mean() == 0.5
    assert history.history["sparsity"] == pytest.approx([0.5] * 3)


def test_a_model_without_zeros_or_without_weights_is_refused(data):
    with pytest.raises(tfopt.ArgumentError, match="must have weights with zeros to keep"):
        fit(compiled(), data, tfopt.PreserveSparsity())
    model = compiled(keras.Sequential([keras.layers.Dense(3, activation="softmax")]))
    with pytest.raises(tfopt.ArgumentError, match="Received: a model without weights yet"):
        fit(model, data, tfopt.PreserveSparsity())


def test_a_tensor_of_zeros_alone_may_change(data):
    model = build(kernel_initializer="zeros", bias_initializer="ones")
    model.get_layer("second").kernel.assign(np.eye(16))
    fit(compiled(model), data, tfopt.PreserveSparsity(), epochs=2)
    assert zeros(model)[0] < 0.5 and zeros(model)[1] == pytest.approx(15 / 16)


def test_lora_is_left_as_it_would_fill_the_zeros_in_files(data):
    model = build()
    model.get_layer("first").enable_lora(2)
    pruning = tfopt.PruningCallback(tfopt.ConstantSparsity(0.75), include="*")
    fit(compiled(model), data, pruning, epochs=1)
    assert "first" not in {target.layer_name for target in pruning.targets} and "LoRA" in pruning.skipped["first/kernel"]
    assert zeros(tfopt.prune(model, 0.5)) == [0, 0.75]
    model = tfopt.prune(build(), 0.5)
    model.get_layer("first").enable_lora(2)
    with pytest.raises(tfopt.ArgumentError, match="first/kernel under LoRA"):
        fit(compiled(model), data, tfopt.PreserveSparsity())


@pytest.mark.parametrize("first", ["pruning", "preserve"])
@pytest.mark.parametrize("include", [None, "second"], ids=["the same layers", "other layers"])
def test_beside_pruning(data, first, include):
    norm = keras.constraints.MaxNorm(2.0)
    model = compiled(tfopt.prune(build(kernel_constraint=norm), 0.5, include=["first", "second"]))
    before = model.get_layer("first").kernel.numpy() == 0
    watch, pruning = Zeros(), tfopt.PruningCallback(tfopt.PolynomialDecay(0.75, begin=0.2), include=include)
    both = [pruning, tfopt.PreserveSparsity()] if first == "pruning" else [tfopt.PreserveSparsity(), pruning]
    history = fit(model, data, watch, *both, epochs=4)
    assert np.min(watch.seen) >= 0.5 and not model.get_layer("first").kernel.numpy()[before].any()
    assert zeros(model) == pytest.approx([0.5 if include else 0.75, 0.75]) and history.history["sparsity"][-1] == 0.75
    constraint = model.get_layer("first").kernel.constraint
    assert isinstance(constraint, keras.constraints.MaxNorm) and model.get_layer("second").kernel.constraint is None
