"""Trains under two workers with a backup of each epoch: OUT [VICTIM...]; in start number k, worker VICTIM[k] dies in epoch 3.

At the end, the workers train the same model once more without a fault.
"""

import os
import pathlib
import signal
import sys

import keras
import numpy as np

import tfopt

strategy = tfopt.strategy("multi_worker")


class Die(keras.callbacks.Callback):
    """As `kill -9` does, in the middle of the third epoch."""

    epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        print("epoch", epoch + 1)
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 2 and batch == 3:
            os.kill(os.getpid(), signal.SIGKILL)


def train(path, *callbacks):
    """Writes the state of the model and of its optimizer after training."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = keras.Sequential(
            [
                keras.Input((6, 6, 1)),
                keras.layers.Conv2D(4, 3, use_bias=False),
                keras.layers.BatchNormalization(momentum=0.8),
                keras.layers.ReLU(),
                keras.layers.Flatten(),
                keras.layers.Dropout(0.3),
                keras.layers.Dense(3),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 128)
    x = (rng.normal(size=(128, 6, 6, 1)) + y[:, None, None, None]).astype("float32")
    model.fit(x, y, batch_size=16, epochs=4, shuffle=False, verbose=0, callbacks=list(callbacks))
    np.savez(path, *[np.array(variable) for variable in (*model.variables, *model.optimizer.variables)])


def main():
    folder, *victims = sys.argv[1:]
    folder, restart, index = pathlib.Path(folder), int(os.environ["TFOPT_RESTART"]), strategy.cluster_resolver.task_id
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    dies = restart < len(victims) and int(victims[restart]) == index
    train(folder / f"killed-{index}.npz", backup, *([Die()] if dies else []))
    train(folder / f"whole-{index}.npz")


if __name__ == "__main__":
    main()
