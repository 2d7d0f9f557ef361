"""Two replicas compute what one computes on the whole batch, as workers and as devices."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import training
from workers import launch

SCRIPT = pathlib.Path(training.__file__)


@pytest.fixture(scope="module")
def alone():
    return training.train(keras, lambda build: build())


def differences(found, alone, name):
    """{array: largest difference} of a net's weights and metrics."""
    keys = [key for key in alone if key.startswith(f"{name}_") and not key.endswith("predictions")]
    return {key: np.abs(found[key] - alone[key]).max() for key in keys}


@pytest.mark.parametrize("kind", ["multi_worker", "mirrored"])
def test_two_replicas_compute_what_one_does(kind, alone, tmp_path):
    out = tmp_path / "found.npz"
    if kind == "multi_worker":
        said = launch(2, SCRIPT, kind, out)
        assert "2 replicas: TF_CONFIG names 2 workers, this is number 1" in said
    else:
        said = subprocess.run([sys.executable, SCRIPT, kind, out], stderr=subprocess.PIPE, text=True, check=True).stderr
        assert "tfopt: MirroredStrategy, 2 replicas: the CPU is split into 2" in said
    found = [dict(np.load(file)) for file in sorted(tmp_path.glob("*.npz"))]
    assert len(found) == (2 if kind == "multi_worker" else 1)
    for each in found:
        plain, normalized, eights = (differences(each, alone, name) for name in ("plain", "normalized", "eights"))
        assert max(plain.values()) <= 1e-5, plain
        assert max(eights.values()) <= 1e-5, eights  # `steps_per_execution=8`
        assert max(normalized.values()) <= 1e-4, normalized
        for name in ("plain_predictions", "normalized_predictions"):  # logits of up to 10; in the order of the samples
            np.testing.assert_allclose(each[name], alone[name], atol=1e-3)
        for key in alone:
            np.testing.assert_array_equal(each[key], found[0][key], err_msg=key)
        assert max(differences(each, alone, "views").values()) <= 1e-5  # nobody writes into the user's arrays
