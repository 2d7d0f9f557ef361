"""The repair is where it is needed, and nowhere else."""

import pathlib

import keras
import tensorflow as tf
from workers import launch

from tfopt.distribution import keras_repair

HERE = pathlib.Path(__file__).parent


def test_keras_still_needs_it():
    """If this fails, Keras trains with several workers by itself: `keras_repair.py` and its row in the README can go."""
    said = launch(2, HERE / "plain_keras.py")
    assert said.count("failed: ValueError") == 2 and "PerReplica" in said, said


def test_models_made_outside_a_scope_are_those_of_keras():
    constructor = keras_repair.trainer_class().__init__
    seen = []
    with keras_repair.handing_over(seen.append):
        with keras_repair.handing_over(seen.append):
            pass
        inside = keras.Sequential([keras.layers.Dense(1)])
        assert keras_repair.trainer_class().__init__ is not constructor
    assert keras_repair.trainer_class().__init__ is constructor
    outside = keras.Sequential([keras.layers.Dense(1)])
    assert inside in seen and outside not in seen
    assert not {"fit", "save", "_maybe_symbolic_build"} & set(vars(outside))
    assert outside.distribute_strategy is tf.distribute.get_strategy()
