"""Every layer x every pattern x both scopes: the sparsity is exact, zeros hold after every step, and files are plain."""

import keras
import numpy as np
import pytest
from pruned_layers import CASES, build

import tfopt

PATTERNS = {"unstructured": tfopt.Unstructured(), "block": tfopt.Block((2, 2)), "2:4": tfopt.NByM(2, 4)}
# Layers in one model, so that one training serves them all: those pruned by default, and those that must be included.
GROUPS = {
    "default": [name for name, case in CASES.items() if not case.include],
    "included": [name for name, case in CASES.items() if case.include],
}


MORE = [("unstructured", "global"), ("block", "layer"), ("block", "global"), ("2:4", "global")]


class Watch(keras.callbacks.Callback):
    """Notes the pruned weights after every step."""

    def __init__(self, pruning):
        super().__init__()
        self.pruning = pruning
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append({target.name: target.variable.numpy() for target in self.pruning.targets})


@pytest.fixture(scope="module", params=GROUPS)
def group(request):
    """(names of cases, their model, its weights at the beginning, inputs, targets)."""
    names = GROUPS[request.param]
    model, x, y = build(names)
    return names, model, model.get_weights(), x, y


@pytest.mark.parametrize(
    ("pattern", "scope"),
    [
        ("unstructured", "layer"),
        ("2:4", "layer"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE),
    ],
)
def test_layers(group, pattern, scope, tmp_path):
    names, model, start, x, y = group
    model.set_weights(start)
    # Tracing takes longer than training here.
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse", run_eagerly=True)
    schedule = tfopt.PolynomialDecay(0.5, end=4)
    include = "tested_*" if CASES[names[0]].include else None
    pruning = tfopt.PruningCallback(schedule, pattern=PATTERNS[pattern], scope=scope, include=include, frequency=1)
    watch = Watch(pruning)
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[watch, pruning])

    for name in names:
        kinds = [target.weight.kind for target in pruning.targets if target.weight.layers[0].name == f"tested_{name}"]
        assert sorted(kinds) == sorted(CASES[name].pruned), name
    sizes = {target.name: target.size for target in pruning.targets}
    zeros = {target.name: int((target.variable.numpy() == 0).sum()) for target in pruning.targets}
    assert len(sizes) == sum(len(CASES[name].pruned) for name in names)
    if scope == "layer":
        assert not {name: count for name, count in zeros.items() if abs(count - sizes[name] / 2) > 1}, sizes
    assert abs(sum(zeros.values()) - sum(sizes.values()) / 2) <= 1
    assert len(watch.steps) == 8
    for before, after in zip(watch.steps, watch.steps[1:], strict=False):
        for name, old in before.items():
            assert not after[name][old == 0].any(), name  # a zero is never lost
            assert not np.signbit(after[name][after[name] == 0]).any(), name  # and it is 0.0, not -0.0
    for target in pruning.targets:
        rows, columns = target.matrix().shape
        if pattern == "2:4":
            assert (np.count_nonzero(target.matrix().reshape(-1, 4, columns), axis=1) <= 2).all(), target.name
        if pattern == "block":
            filled = np.count_nonzero(target.matrix().reshape(rows // 2, 2, columns // 2, 2), axis=(1, 3))
            assert set(np.unique(filled)) <= {0, 4}, target.name
    assert all(variable.constraint is None for variable in model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one, other in zip(loaded(x), model(x), strict=True):
        np.testing.assert_array_equal(one, other)
    assert tfopt.sparsity_report(loaded).sparsity == tfopt.sparsity_report(model).sparsity
