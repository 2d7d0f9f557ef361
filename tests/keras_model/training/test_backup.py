"""Backups of a run that was killed: at any moment, the file that is there is a whole one."""

import json

import keras
import numpy as np
import pytest

import tfopt
from tfopt.keras_model.training import backup

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(32, 6)), RNG.normal(size=(32, 1))


def made():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", jit_compile=False)
    return model


def run(*callbacks, before=False):
    """4 epochs of 2 steps."""
    model, pruning = made(), tfopt.PruningCallback(tfopt.PolynomialDecay(0.5))
    every = [*callbacks, pruning] if before else [pruning, *callbacks]
    model.fit(X, Y, batch_size=16, epochs=4, shuffle=False, verbose=0, callbacks=every)
    return model


def die_in(monkeypatch, function, call, *, after=False):
    """Makes a call of a function of `backup` end the run, as a kill in front of it, or after it, does."""
    own, calls = getattr(backup, function), []

    def dies(*args):
        calls.append(args)
        if len(calls) != call:
            return own(*args)
        if after:
            own(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(backup, function, dies)


KILLS = {
    "before the random states": ("_add", False),
    "before the file has its name": ("_move", False),
    "before the epoch is written": ("_move", True),
}


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.mark.parametrize("backed_up", [1, 2], ids=["the first backup", "the second backup"])
@pytest.mark.parametrize("kill", KILLS)
def test_a_run_that_was_killed_equals_one_that_was_not(kill, backed_up, whole, tmp_path, monkeypatch):
    double = kill != "before the random states"
    function, after = KILLS[kill]

    def callback():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", double_checkpoint=double)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        die_in(patch, function, backed_up, after=after)
        run(callback(), before=double)
    left = {file.name for file in (tmp_path / "backup").iterdir()}
    assert left <= {"latest.weights.h5", "training_metadata.json", "unfinished.latest.weights.h5"} | {
        f"{name}.bkp" for name in ("latest.weights.h5", "training_metadata.json")
    }
    epochs = []
    resumed = run(
        callback(), keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch)), before=double
    )
    assert epochs == list(range(backed_up if after else backed_up - 1, 4))
    for one, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


class Dies(keras.callbacks.Callback):
    """Ends a run in an epoch, by default in its third one."""

    def __init__(self, at=2):
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("written", ['{"epoch": 1, "batch": 0}', '{"epo'], ids=["older", "a half"])
def test_the_epoch_of_the_weights_counts(written, whole, tmp_path):
    folder = tmp_path / "backup"
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(folder), Dies())
    assert json.loads((folder / "training_metadata.json").read_text())["epoch"] == 2
    (folder / "training_metadata.json").write_text(written)
    resumed = run(keras.callbacks.BackupAndRestore(folder))
    np.testing.assert_array_equal(resumed.get_weights()[0], whole.get_weights()[0])


def test_a_folder_that_is_not_on_this_machine(whole):
    """The file system in memory that TensorFlow has for tests appends to a file that is there, so there is one backup."""
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore("ram://backup/of/a/run"), Dies(at=1))
    resumed = run(keras.callbacks.BackupAndRestore("ram://backup/of/a/run"))
    np.testing.assert_array_equal(resumed.get_weights()[0], whole.get_weights()[0])


def test_a_backup_without_random_states_is_refused(tmp_path):
    model = made()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=4, verbose=0, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup"), Dies()])
    with pytest.raises(tfopt.LoadError, match=r"0 states for 1 random generators.*remove its folder"):
        run(keras.callbacks.BackupAndRestore(tmp_path / "backup"))


def test_a_run_from_a_checkpoint_says_that_its_generators_begin_anew(tmp_path):
    run(keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"))
    model = keras.saving.load_model(tmp_path / "2.keras")
    with pytest.warns(UserWarning, match="continues at epoch 3, and the random generators of the model are at their beginning"):
        model.fit(X, Y, epochs=4, initial_epoch=2, verbose=0, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(0.5))])


def test_the_model_gets_its_methods_back_and_other_files_are_plain(tmp_path):
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)
    model = run(keras.callbacks.BackupAndRestore(tmp_path / "backup"), checkpoint)
    assert not {"save_weights", "load_weights"} & set(vars(model))
    import h5py

    with h5py.File(tmp_path / "4.weights.h5") as file:
        assert "tfopt_run" not in file
