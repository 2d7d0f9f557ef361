"""`Int8Evaluation`: the accuracy of the real int8 file, epoch by epoch, while its model trains."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

import keras

from tfopt import isolation
from tfopt.checking.comparison import FileUnderTest, compare
from tfopt.checking.settings import CheckSettings, require_integer
from tfopt.conversion.export import Variant
from tfopt.conversion.export_job import ExportJob, InChild
from tfopt.conversion.settings import ConversionRequest, Settings
from tfopt.conversion.traced_model import trace_with_data
from tfopt.errors import ArgumentError, DataError
from tfopt.keras_model.shipped import shipped_model
from tfopt.loading import float32
from tfopt.progress import ignore
from tfopt.tflite.interpreter import Interpreter


class Int8Evaluation(keras.callbacks.Callback):
    """Converts the model at the end of epochs and evaluates the file: `logs["val_int8_accuracy"]`, a fraction.

    If the model is a `Distiller`, its student is converted. The accuracy is in the History and in the logs that CSVLogger and
    TensorBoard write. EarlyStopping and ModelCheckpoint can monitor it if they are listed after this callback.

    Example:

    ```python
    qat.fit(x, y, epochs=5, callbacks=[tfopt.Int8Evaluation((x_val, y_val))])
    ```

    Args:
        data: (inputs, labels): inputs in a form that `tfopt.convert` takes as `representative_data`, and class ids (n,) or one-hot
            rows (n, classes).
        validation_freq: as for `keras.Model.fit`: an int of at least 1, by default 1, the number of epochs between two
            evaluations; or a collection of epochs, counted from 1, after which the file is evaluated, such as `[1, 2, 10]`.
        representative_data: None (default) for a quantization-aware model, whose ranges come from training; otherwise inputs from
            which the ranges are computed.
        samples: how many of these inputs are drawn, at least 1, by default 200.
        timeout: seconds that one conversion may take, above 0, by default 600.

    Raises:
        ArgumentError: an argument has a value that cannot be used.
        DataError: the labels are not classes of the output, or representative data are missing; raised at the end of an epoch.
    """

    def __init__(
        self,
        data: tuple[Any, Any],
        validation_freq: int | Collection[int] = 1,
        *,
        representative_data: Any = None,
        samples: int = 200,
        timeout: float = 600.0,
    ) -> None:
        super().__init__()
        if not isinstance(data, tuple) or len(data) != 2:
            raise ArgumentError(f"`data` must be a pair (inputs, labels). Received: {type(data).__name__}.")
        if isinstance(validation_freq, Collection) and not isinstance(validation_freq, str):
            for epoch in validation_freq:
                require_integer("validation_freq", epoch)
        else:
            require_integer("validation_freq", validation_freq)
        self._frequency = validation_freq
        settings = Settings(samples=samples, timeout=timeout)
        self._request = ConversionRequest(
            model=None, representative_data=representative_data, validation_data=data, settings=settings
        )
        self._child: isolation.Child | None = None
        self._stack = contextlib.ExitStack()  # holds the child while the model trains

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts the process that is going to convert, so that its imports overlap with the first epoch."""
        self.on_train_end()
        self._child = self._stack.enter_context(isolation.warm_child())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Converts and evaluates the model, if it is due after this epoch."""
        number, frequency = epoch + 1, self._frequency
        is_due = number % frequency == 0 if isinstance(frequency, int) else number in frequency
        if is_due:
            accuracy = self._evaluate()
            if logs is not None:
                logs["val_int8_accuracy"] = accuracy

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Hands the process back, for the next conversion."""
        self._child = None
        self._stack.close()

    def _evaluate(self) -> float:
        """The accuracy of the int8 file of the model as it is now, a fraction."""
        assert self._child is not None  # `on_train_begin` starts it
        traced = trace_with_data(float32.as_float32(shipped_model(self.model)), self._request, ignore)
        samples = traced.drawn.arrays if traced.drawn else None
        job = ExportJob(traced=traced.traced, variants={"int8": Variant("int8")}, samples=samples)
        ((_, exported),) = InChild(self._child, self._request.settings.timeout)(job, ignore)
        file = FileUnderTest(
            interpreter=Interpreter(exported.content), samples=traced.validation, origin="the data", allow_float=True
        )
        result = compare(file, None, CheckSettings(min_sqnr=0.0, max_accuracy_drop=1.0))
        if result.accuracy is None:
            raise DataError("`data` must have labels that are classes of the model's first output. Received: other labels.")
        return result.accuracy
