"""tfmot's layers are told from all others, and ranges that saw no data from those that did."""

import numpy as np
from keras2_models import layers, quantized, small

import tfopt
from tfopt.keras2.prune import prune
from tfopt.keras2.quantize_aware import quantize_aware
from tfopt.keras2.tfmot_layers import (
    has_quantizers,
    input_quantizers,
    is_model,
    pruning_wrappers,
    quantizers,
    unseen_quantizers,
    values_by_kind,
)


def test_wrappers_and_quantizers():
    inner = small(layers.Dense(4, name="deep"), shape=(4,))
    plain = small(layers.Dense(4, activation="relu", name="a"), inner, shape=(4,))
    pruned, aware = prune(plain, tfopt.ConstantSparsity(0.5)), quantize_aware(plain)
    assert not has_quantizers(plain) and not has_quantizers(pruned) and has_quantizers(aware)
    assert not pruning_wrappers(plain) and not pruning_wrappers(aware)
    assert {wrapper.layer.name for wrapper in pruning_wrappers(pruned)} >= {"a", "deep"}
    assert [type(layer).__name__ for layer in input_quantizers(aware)] == ["QuantizeLayer"]
    assert {"a", "deep", "out"} <= {layer.name for layer in quantizers(aware)}
    assert is_model(inner) and not is_model(plain.layers[0])


def test_ranges_that_saw_data():
    model = small(layers.Dense(4, activation="relu", name="a"), shape=(4,))
    fresh = quantize_aware(model)
    assert {"a", "out"} < set(unseen_quantizers(fresh))  # and the quantizer of the input
    seen, _ = quantized(model)
    assert unseen_quantizers(seen) == []
    np.testing.assert_array_equal(values_by_kind(seen.get_layer("a"))["kernel"], model.get_layer("a").kernel.numpy())
