"""Pruning, quantization-aware training and distillation with two replicas: they hold the same, and the result converts."""

import json

import keras
import numpy as np
import pytest

import tfopt

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["multi_worker_long", "mirrored_long"])
def run(request, run_replicas):
    """(folder, [what each worker found])."""
    folder = run_replicas(request.param).folder / "compression"
    return folder, [json.loads(file.read_text()) for file in sorted(folder.glob("found.*.json"))]


def test_replicas_hold_the_same_bits_at_every_save(run):
    _, workers = run
    for stage in ("pruning", "quantization", "distillation"):
        replicas = [replica for worker in workers for replica in zip(*worker[stage]["seen"], strict=True)]
        assert len(replicas) == 2 and len(replicas[0]) == 3
        assert replicas[0] == replicas[1], stage
        assert len({weights for weights, _ in replicas[0]}) == 3  # they did move
        assert all(worker[stage]["history"] == workers[0][stage]["history"] for worker in workers), stage


def test_sparsity_is_reached_and_kept(run):
    folder, (found, *_) = run
    assert found["pruning"]["history"]["sparsity"][-1] == pytest.approx(0.75, abs=0.01)
    assert found["distillation"]["history"]["sparsity"][-1] == pytest.approx(0.5, abs=0.01)
    pruned = keras.saving.load_model(folder / "pruned.keras")
    checkpoint = keras.saving.load_model(folder / "pruned.3.keras")
    for one, other in zip(pruned.get_weights(), checkpoint.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    kernel = pruned.layers[5].kernel.numpy()
    assert (kernel == 0).mean() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("name", ["quantized", "distilled"])
def test_the_result_converts(run, name):
    folder, _ = run
    rng = np.random.default_rng(1)
    result = tfopt.convert(folder / f"{name}.keras", validation_data=rng.normal(size=(64, 8, 8, 1)).astype("float32"), runs=3)
    assert result.check.passed, result.check.reasons
    assert result.check.outputs[0].most_error_lsb <= 2


def test_the_pruned_model_converts(run):
    folder, _ = run
    rng = np.random.default_rng(1)
    result = tfopt.convert(folder / "pruned.keras", representative_data=rng.normal(size=(200, 8, 8, 1)).astype("float32"), runs=3)
    assert result.check.passed, result.check.reasons
