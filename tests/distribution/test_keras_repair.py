"""The repair is where it is needed, and nowhere else."""

import keras
import tensorflow as tf

from tfopt.distribution import keras_repair


def test_keras_still_needs_it(run_replicas):
    """If this fails, Keras trains with several workers by itself: `keras_repair.py` and its row in docs/developers.md can go."""
    said = [file.read_text() for file in (run_replicas("multi_worker").folder / "plain_keras").iterdir()]
    assert len(said) == 2 and all(each.startswith("failed: ValueError") and "PerReplica" in each for each in said), said


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


def test_the_functions_of_keras_save_what_the_methods_save(run_replicas):
    assert (run_replicas("mirrored").folder / "saved" / "saved").exists()
