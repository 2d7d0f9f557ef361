"""Every layer x every pattern x both scopes: the sparsity is exact, zeros hold after every step, and files are plain."""

import keras
import numpy as np
import pytest
from pruned_layers import CASES, build

import tfopt

PATTERNS = {"unstructured": tfopt.Unstructured(), "block": tfopt.Block((2, 2)), "2:4": tfopt.NByM(2, 4)}


class Watch(keras.callbacks.Callback):
    """Notes the pruned weights after every step."""

    def __init__(self, pruning):
        super().__init__()
        self.pruning = pruning
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append([target.variable.numpy() for target in self.pruning.targets])


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", CASES)
def test_layer(name, pattern, scope, tmp_path):
    model, x, y = build(name)
    _, _, kinds, include = CASES[name]
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse", run_eagerly=True)  # tracing takes longer than training here
    schedule = tfopt.PolynomialDecay(0.5, end=4)
    pruning = tfopt.PruningCallback(schedule, pattern=PATTERNS[pattern], scope=scope, include=include, frequency=1)
    watch = Watch(pruning)
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[watch, pruning])

    assert sorted(target.weight.kind for target in pruning.targets) == sorted(kinds)
    sizes = [target.size for target in pruning.targets]
    zeros = [int((target.variable.numpy() == 0).sum()) for target in pruning.targets]
    if scope == "layer":
        assert all(abs(count - size / 2) <= 1 for count, size in zip(zeros, sizes, strict=True)), (zeros, sizes)
    assert abs(sum(zeros) - sum(sizes) / 2) <= 1
    assert len(watch.steps) == 8
    for before, after in zip(watch.steps, watch.steps[1:], strict=False):
        for old, new in zip(before, after, strict=True):
            assert not new[old == 0].any()  # a zero is never lost
            assert not np.signbit(new[new == 0]).any()  # and it is 0.0, not -0.0
    if pattern == "2:4":
        for target in pruning.targets:
            assert (np.count_nonzero(target.matrix().reshape(-1, 4, target.matrix().shape[1]), axis=1) <= 2).all()
    if pattern == "block":
        for target in pruning.targets:
            rows, columns = target.matrix().shape
            filled = np.count_nonzero(target.matrix().reshape(rows // 2, 2, columns // 2, 2), axis=(1, 3))
            assert set(np.unique(filled)) <= {0, 4}
    assert all(variable.constraint is None for variable in model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert tfopt.sparsity_report(loaded).sparsity == tfopt.sparsity_report(model).sparsity
