"""The mean over the steps that a mask leaves, for sequences of any length."""

import numpy as np
import pytest
from seeded_models import KERAS, chain, largest_differences, measure, seeded, specs_of, to_int8

from tfopt.lowering import lower


def _ids(count, seed):
    """(count, 60) ids, of which 1 to 59 are not padding."""
    generator = np.random.default_rng(seed)
    ids, lengths = generator.integers(1, 30, (count, 60)), generator.integers(1, 60, (count, 1))
    return np.where(np.arange(60) < lengths, ids, 0).astype("int32")


@pytest.mark.parametrize("kind", list(KERAS))
def test_short_and_long_sequences_are_as_good(kind):
    def build(k):
        embedding = k.layers.Embedding(30, 8, mask_zero=True)
        return chain(k, (60,), embedding, k.layers.Dense(8), k.layers.GlobalAveragePooling1D(), dtype="int32")

    model = seeded(build, kind)
    (spec,) = specs_of(model)
    lowering = lower.plan(model)
    (difference,) = largest_differences(model, data={spec.name: _ids(8, 0)}, lowering=lowering)
    assert difference <= 1e-5 and lowering.touched["masked_pooling"]
    content = to_int8(model, data={spec.name: _ids(256, 1)})
    for length in (1, 6, 59):
        ids = np.where(np.arange(60) < length, np.maximum(_ids(48, 2), 1), 0).astype("int32")
        float_ops, (decibel,) = measure(model, content, data={spec.name: ids})
        assert not float_ops and decibel >= 25.0


def test_a_layer_without_a_mask_is_left_alone():
    model = seeded(lambda k: chain(k, (6, 4), k.layers.GlobalAveragePooling1D()), "keras3")
    lowering = lower.plan(model)
    assert largest_differences(model, lowering=lowering) == [0.0] and "masked_pooling" not in lowering.touched
