"""`Int8Evaluation`: the accuracy of the real int8 file, epoch by epoch, while its model trains."""

import keras

from tfopt import isolation
from tfopt.checking import check
from tfopt.conversion.convert import export_in_child
from tfopt.conversion.settings import Settings
from tfopt.conversion.traced_model import prepare
from tfopt.errors import ArgumentError, DataError
from tfopt.keras_model.walk import shipped_model
from tfopt.loading import float32
from tfopt.tflite.interpreter import Interpreter


class Int8Evaluation(keras.callbacks.Callback):
    """Converts the model at the end of epochs and evaluates the file: `logs["val_int8_accuracy"]`, a fraction.

    Of a `Distiller` it is the student that is converted. The number is in History, and in what CSVLogger and TensorBoard write, so
    that EarlyStopping and ModelCheckpoint can go by it if they stand behind this callback.

    Example:

    ```python
    qat.fit(x, y, epochs=5, callbacks=[tfopt.Int8Evaluation((x_val, y_val))])
    ```

    Args:
        data: (inputs, labels): what `samples.open_samples` takes, and class ids (n,) or one-hot rows (n, classes).
        every: int >= 1, epochs between two evaluations.
        representative_data: None for a quantization-aware model whose ranges training tells; else inputs to draw ranges from.
        samples: int >= 1, how many of these are drawn.
        timeout: float, seconds that one conversion may take.

    Raises:
        ArgumentError: an argument that cannot be used.
        DataError: the labels are no classes of the output; at the end of the first epoch, representative data are missing.
    """

    def __init__(self, data, every=1, *, representative_data=None, samples=200, timeout=600):
        super().__init__()
        if not isinstance(data, tuple) or len(data) != 2:
            raise ArgumentError(f"`data` must be a pair (inputs, labels). Received: {type(data).__name__}.")
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ArgumentError(f"`every` must be an integer of at least 1. Received: every={every!r}.")
        self._data, self._every, self._representative = data, every, representative_data
        self._settings = Settings(samples=samples, timeout=timeout)
        self._child = None

    def on_train_begin(self, logs=None):
        """Starts the process that is going to convert, so that its imports overlap with the first epoch."""
        self.on_train_end()
        self._child = isolation.Child(preload="tensorflow")

    def on_epoch_end(self, epoch, logs=None):
        """Converts, evaluates, logs."""
        if (epoch + 1) % self._every == 0:
            accuracy = self._evaluate()
            if logs is not None:
                logs["val_int8_accuracy"] = accuracy

    def on_train_end(self, logs=None):
        """Ends the process."""
        if self._child is not None:
            self._child.__exit__()
            self._child = None

    def _evaluate(self):
        model = float32.as_float32(shipped_model(self.model))
        prepared = prepare(model, self._representative, self._data, self._settings)
        wanted = {"int8": ("int8", "int8", "default")}
        files = export_in_child(self._child, self._settings.timeout, prepared.traced, wanted, prepared.drawn, (), (), None)
        ((_, content, _),) = files
        result = check.compare(
            Interpreter(content), None, prepared.validation, data="the data", min_sqnr=0.0, max_accuracy_drop=1.0, allow_float=True
        )
        if result.accuracy is None:
            raise DataError("`data` must have labels that are classes of the model's first output. Received: others.")
        return result.accuracy
