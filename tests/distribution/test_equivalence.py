"""Two replicas compute what one computes on the whole batch, as workers and as devices."""

import equivalence
import numpy as np
import pytest


@pytest.fixture(scope="module")
def alone():
    return equivalence.train(lambda build: build())


def differences(found, alone, name):
    """{array: largest difference} of a net's weights and metrics."""
    keys = [key for key in alone if key.startswith(f"{name}_") and not key.endswith("predictions")]
    return {key: np.abs(found[key] - alone[key]).max() for key in keys}


@pytest.mark.parametrize("kind", ["multi_worker", pytest.param("mirrored_long", marks=pytest.mark.slow)])
def test_two_replicas_compute_what_one_does(kind, alone, run_replicas):
    files = sorted((run_replicas(kind).folder / "equivalence").iterdir())
    assert len(files) == (2 if kind == "multi_worker" else 1)
    found = [dict(np.load(file)) for file in files]
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
