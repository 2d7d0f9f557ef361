"""Run any `.tflite` file on ordinary float arrays: quantizes in, dequantizes out, loops over samples."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfopt import isolation
from tfopt.errors import ArgumentError, ConversionError, DataError, LoadError, RunError
from tfopt.progress import Progress
from tfopt.tflite import flatbuffer, integrity
from tfopt.tflite.affine import dequantize, quantize
from tfopt.tflite.file import Source, file_name, read_bytes
from tfopt.tflite.probe import REAL_SAMPLES, OpenRequest, require_survivable
from tfopt.tflite.signature import in_signature_order, plain_names

Inputs = npt.ArrayLike | Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike]
"""An array (n, ...) for one input; for several a tuple or list of arrays in the file's order, or a dict by input name."""


class Interpreter:
    """Runs a TFLite model on float arrays, whatever its inputs and outputs are quantized to.

    `q = clip(round(x / scale) + zero_point)` on the way in, `x = (q - zero_point) * scale` on the way out.

    Example:

    ```python
    run = tfopt.Interpreter("model.tflite")
    scores = run(images)            # float32 (n, 10) for images (n, 28, 28, 1) and a file made for one image at a time
    ```

    Args:
        model: path of a `.tflite` file, or its bytes.
        threads: threads of the CPU kernels, at least 1.
        keep_all: whether `tensor` can read every tensor after a run. The file then runs without the CPU delegate, which leaves the
            tensors inside it unwritten, and so with other kernels.
        probe: whether a file that is given by its path is first opened in a child process, which costs about a second. A file whose
            tensors contradict each other can end the process that opens it; with `probe` it raises `LoadError`. It has no effect in
            a child process of tfopt.
        allow_large: whether the tensors may take any memory; otherwise they must fit the free memory.

    Attributes:
        input_names, output_names: in the model's order, where a signature tells it.
        graph: the file's structure.
        input_indices, output_indices: their tensors in `graph`, in that order.
        batch_size: samples per run, as the file fixes it.

    Raises:
        LoadError: no such file, or not a TFLite model.
        ConversionError: the runtime lacks an operation that the file uses.
    """

    input_names: list[str]
    output_names: list[str]
    graph: flatbuffer.Graph
    input_indices: list[int]
    output_indices: list[int]
    batch_size: int

    def __init__(
        self, model: Source, *, threads: int = 1, keep_all: bool = False, probe: bool = False, allow_large: bool = False
    ) -> None:
        from ai_edge_litert import interpreter as litert

        if not isinstance(threads, int) or threads < 1:
            raise ArgumentError(f"`threads` must be an integer of at least 1. Received: threads={threads!r}.")
        content = read_bytes(model, allow_large=allow_large)
        integrity.require_sound(content, file_name(model), allow_large=allow_large)
        if probe and not isinstance(model, (bytes, bytearray, memoryview)) and not isolation.is_child():
            require_survivable(model, keep_all=keep_all, allow_large=allow_large)
        options = {}
        if keep_all:
            plain = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            options = {"experimental_preserve_all_tensors": True, "experimental_op_resolver_type": plain}
        with _captured_stderr() as chatter:
            try:
                self._interpreter = litert.Interpreter(model_content=content, num_threads=threads, **options)
            except ValueError as error:
                raise LoadError(
                    f"A complete TFLite file is required. Received: {file_name(model)} ({error}). Convert the model again."
                ) from error
            try:
                self._interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                remedy = (
                    "The scales of its tensors may be too far apart for an operation, as those of columns whose units differ "
                    "1,000-fold: compute the layer that scales such columns around the file (tfopt.split)"
                    if "XNNPACK" in str(error)
                    else "Convert the model with builtin operations only"
                )
                raise ConversionError(
                    f"The TFLite runtime must be able to run every operation of the file. Received: {file_name(model)} ({error}; "
                    f"{chatter()}). {remedy}."
                ) from error
        self._name = file_name(model)
        self.graph = flatbuffer.parse(content)
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self.input_names = plain_names([detail["name"] for detail in self._inputs])
        self.output_names = plain_names([detail["name"] for detail in self._outputs])
        signature = next(iter(self._interpreter.get_signature_list()), None)
        if signature:
            runner = self._interpreter.get_signature_runner(signature)
            self._inputs, self.input_names = in_signature_order(runner.get_input_details(), self._inputs, self.input_names)
            self._outputs, self.output_names = in_signature_order(runner.get_output_details(), self._outputs, self.output_names)
        self.input_indices = [int(detail["index"]) for detail in self._inputs]
        self.output_indices = [int(detail["index"]) for detail in self._outputs]
        self.batch_size = int(self._inputs[0]["shape"][0]) if len(self._inputs[0]["shape"]) else 1

    def __call__(self, inputs: Inputs) -> npt.NDArray[Any] | dict[str, npt.NDArray[Any]]:
        """Runs the model on any number of samples.

        Args:
            inputs: array (n, ...) for one input; for several a tuple or list in the file's order, or a dict by input name.

        Returns:
            float32 array (n, ...) for one output, else a dict of output name -> array. Outputs that the file does not
            quantize keep their dtype.

        Raises:
            DataError: names, ranks or sizes do not fit the file.
        """
        outputs = self.run(inputs)
        return outputs[0] if len(outputs) == 1 else dict(zip(self.output_names, outputs, strict=True))

    def run(self, inputs: Inputs) -> list[npt.NDArray[Any]]:
        """The same as a list of arrays, in the order of `output_names`."""
        arrays = self._bind(inputs)
        count = len(arrays[0])
        if count == self.batch_size:
            return self._run(arrays)
        for detail, name in zip(self._outputs, self.output_names, strict=True):
            if tuple(detail["shape"][:1]) != (self.batch_size,):
                raise DataError(
                    f"Output {name!r} has no row for each sample, so the file runs exactly {self.batch_size} at a time. "
                    f"Received: {count} samples. Call it once for each batch."
                )
        collected: list[list[npt.NDArray[Any]]] = [[] for _ in self._outputs]
        for start in range(0, count, self.batch_size):
            batch = [array[start : start + self.batch_size] for array in arrays]
            missing = self.batch_size - len(batch[0])
            if missing:
                batch = [np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for array in batch]
            for values, output in zip(self._run(batch), collected, strict=True):
                output.append(values[: self.batch_size - missing])
        return [np.concatenate(parts) for parts in collected]

    def invoke(self, seed: int | None = None) -> None:
        """Runs the kernels once on what the inputs hold, for timing; with `seed`, first fills them with random numbers."""
        if seed is not None:
            generator = np.random.default_rng(seed)
            for detail in self._inputs:
                self._interpreter.set_tensor(detail["index"], _random(generator, detail))
        self._invoke()

    def feed(self, batch: Sequence[npt.ArrayLike]) -> None:
        """Fills the inputs with one batch, an array in real units for each of `input_names`, for `invoke`."""
        for value, detail in zip(batch, self._inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], quantize(np.asarray(value), detail))

    def tensor(self, index: int) -> npt.NDArray[Any]:
        """A tensor of `graph` as the last run left it, as stored (quantized); needs `keep_all`, unless it is a weight."""
        return self._interpreter.get_tensor(index)

    def delegate_partitions(self) -> int:
        """How many runs of operations the CPU delegate (XNNPACK) took over; 1 is best, 0 means that it took none."""
        # Nothing public tells this in ai-edge-litert 2.3; tests/tflite/test_interpreter.py notices when the private call goes.
        return sum(op["op_name"] == "DELEGATE" for op in self._interpreter._get_ops_details())

    def _bind(self, inputs: Inputs) -> list[npt.NDArray[Any]]:
        """One array for each input, in the order of `input_names`."""
        if isinstance(inputs, Mapping):
            if set(inputs) != set(self.input_names):
                raise DataError(
                    f"The arrays must be named as the inputs, {self.input_names}. Received: {sorted(inputs)}. Rename them."
                )
            arrays = [np.asarray(inputs[name]) for name in self.input_names]
        elif isinstance(inputs, tuple) or (isinstance(inputs, list) and len(self._inputs) > 1):
            arrays = [np.asarray(array) for array in inputs]
        else:
            arrays = [np.asarray(inputs)]
        if len(arrays) != len(self._inputs):
            raise DataError(f"{len(self._inputs)} input arrays are required. Received: {len(arrays)}.")
        for array, detail, name in zip(arrays, self._inputs, self.input_names, strict=True):
            sample = tuple(int(size) for size in detail["shape"][1:])
            if array.shape[1:] != sample or len(array) != len(arrays[0]) or not len(array):
                raise DataError(f"Input {name!r} must have the shape (n, {', '.join(map(str, sample))}). Received: {array.shape}.")
            if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and detail["quantization"][0] and np.isnan(array).any()):
                raise DataError(f"Input {name!r} must be numbers, not NaN. Received: an array of {array.dtype}. Clean the data.")
        return arrays

    def _run(self, arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        for array, detail in zip(arrays, self._inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], quantize(array, detail))
        self._invoke()
        return [dequantize(self._interpreter.get_tensor(detail["index"]), detail) for detail in self._outputs]

    def _invoke(self) -> None:
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise RunError(
                f"The TFLite runtime must run the file on the data. Received: {self._name} ({' '.join(str(error).split())}). "
                f"{REAL_SAMPLES}"
            ) from error


def open_file(request: str, progress: Progress) -> None:
    """Builds an interpreter of a file and runs it if the request says so; what the child process of `probe` runs.

    Args:
        request: an `OpenRequest` as JSON.
        progress: called with {"stage": ...}.
    """
    progress({"stage": "allocate tensors"})
    asked = OpenRequest.from_json(request)
    interpreter = Interpreter(asked.path, keep_all=asked.keep_all, allow_large=asked.allow_large)
    if asked.batch is not None:
        progress({"stage": "run"})
        with np.load(asked.batch, allow_pickle=False) as batch:
            interpreter.feed([batch[f"arr_{index}"] for index in range(len(batch.files))])
        interpreter.invoke()
    elif asked.run:
        progress({"stage": "run"})
        interpreter.invoke(seed=0)


def _random(generator: np.random.Generator, detail: Mapping[str, Any]) -> npt.NDArray[Any]:
    shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
    if dtype.kind in "iu" and detail["quantization"][0]:
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    # Plain integers are indices as a rule: 0 is valid in every table.
    return np.zeros(shape, dtype) if dtype.kind in "iub" else generator.random(shape).astype(dtype)


@contextlib.contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Catches what C++ prints while an interpreter is built; yields a function that returns the text so far."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:

        def text() -> str:
            log.seek(0)
            return " ".join(log.read().decode(errors="replace").split())

        saved = os.dup(2)
        try:
            os.dup2(log.fileno(), 2)
            yield text
        finally:
            os.dup2(saved, 2)
            os.close(saved)
