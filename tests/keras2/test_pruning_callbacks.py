"""Runs of pruned Keras 2 models: zeros stay from run to run, and a run that misses its sparsity raises."""

import numpy as np
import pytest
import tf_keras
from keras2_models import layers, small, train

import tfopt
from tfopt.keras2.prune import prune
from tfopt.keras2.pruning_callbacks import pruning_callbacks
from tfopt.keras2.strip import strip


def test_zeros_stay_in_a_second_fit_and_in_a_model_that_has_some():
    pruned = prune(small(layers.Dense(16, name="a")), tfopt.PolynomialDecay(0.5))
    train(pruned)
    assert train(pruned).history["sparsity"] == [0.5, 0.5, 0.5]
    again = prune(strip(pruned), tfopt.PolynomialDecay(0.75, end=1.0))
    shares = train(again).history["sparsity"]
    assert shares[0] >= 0.5
    assert shares[-1] == 0.75
    later = prune(strip(again), tfopt.PolynomialDecay(0.875, begin=0.7, end=1.0))
    assert train(later).history["sparsity"] == [0.75, 0.75, 0.875]


def test_a_run_that_stops_early_misses_its_target():
    pruned = prune(small(layers.Dense(16, name="a")), tfopt.PolynomialDecay(0.8))
    pruned.compile("sgd", "mse")
    x, y = np.ones((64, 6, 4), "float32"), np.ones((64, 6, 2), "float32")
    stop = tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(pruned, "stop_training", True))
    with pytest.raises(tfopt.PruningError, match=r"a/kernel .* of 79.69%: training ended at optimizer step 2, .* ends at 6"):
        pruned.fit(x, y, epochs=4, verbose=0, callbacks=[*pruning_callbacks(), stop])
    late = prune(small(layers.Dense(16)), tfopt.PolynomialDecay(0.8, begin=0, end=100))
    with pytest.raises(tfopt.PruningError, match="end at optimizer step 100, and a run of 12 steps that ends at step 12"):
        train(late)
    ties = prune(small(layers.Dense(16, name="a", kernel_initializer="ones")), tfopt.ConstantSparsity(0.5))
    ties.compile(tf_keras.optimizers.SGD(0.0), "mse")
    with pytest.raises(tfopt.PruningError, match="have equal magnitudes, of which tfmot keeps all"):
        ties.fit(x, y, verbose=0, callbacks=pruning_callbacks())
    unknown = prune(small(layers.Dense(16)), tfopt.PolynomialDecay(0.8))
    unknown.compile("sgd", "mse")
    with pytest.raises(tfopt.ArgumentError, match="the length of the run is unknown"):
        unknown.fit(((x, y) for _ in range(3)), verbose=0, callbacks=pruning_callbacks())
