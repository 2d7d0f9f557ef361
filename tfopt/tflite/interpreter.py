"""Run any `.tflite` file on ordinary float arrays: quantizes in, dequantizes out, loops over samples."""

import contextlib
import os
import pathlib
import re
import sys
import tempfile

import numpy as np

from tfopt import isolation
from tfopt.errors import ArgumentError, ConversionError, DataError, LoadError
from tfopt.tflite import flatbuffer, integrity
from tfopt.tflite.affine import dequantize, quantize
from tfopt.tflite.file import file_name, read_bytes


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
        threads: int >= 1, threads of the CPU kernels.
        keep_all: bool, whether `tensor` can read every tensor after a run. The file then runs without the CPU delegate, which
            leaves the tensors inside it unwritten.

    Attributes:
        input_names, output_names: lists of str in the model's order, where a signature tells it.
        graph: the file's structure, a `flatbuffer.Graph`.
        input_indices, output_indices: list of int, their tensors in `graph`, in that order.
        batch_size: int, samples per run, as the file fixes it.

    Raises:
        LoadError: no such file, or not a TFLite model.
        ConversionError: the runtime lacks an op that the file uses.
    """

    def __init__(self, model, *, threads=1, keep_all=False):
        from ai_edge_litert import interpreter as litert

        if not isinstance(threads, int) or threads < 1:
            raise ArgumentError(f"`threads` must be an integer of at least 1. Received: threads={threads!r}.")
        content = read_bytes(model)
        integrity.require_sound(content, file_name(model))
        if not isinstance(model, (bytes, bytearray, memoryview)) and not isolation.is_child():
            _require_survivable(pathlib.Path(model))
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
                raise ConversionError(
                    f"The TFLite runtime must have every op of the file. Received: {file_name(model)} ({error}; {chatter()}). "
                    "Convert it with builtin ops only."
                ) from error
        self.graph = flatbuffer.parse(content)
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self.input_names = _unique(detail["name"] for detail in self._inputs)
        self.output_names = _unique(detail["name"] for detail in self._outputs)
        signature = next(iter(self._interpreter.get_signature_list()), None)
        if signature is not None:
            runner = self._interpreter.get_signature_runner(signature)
            self._inputs, self.input_names = _in_signature_order(runner.get_input_details(), self._inputs, self.input_names)
            self._outputs, self.output_names = _in_signature_order(runner.get_output_details(), self._outputs, self.output_names)
        self.input_indices = [int(detail["index"]) for detail in self._inputs]
        self.output_indices = [int(detail["index"]) for detail in self._outputs]
        self.batch_size = int(self._inputs[0]["shape"][0]) if len(self._inputs[0]["shape"]) else 1

    def __call__(self, inputs):
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

    def run(self, inputs):
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
        collected = [[] for _ in self._outputs]
        for start in range(0, count, self.batch_size):
            batch = [array[start : start + self.batch_size] for array in arrays]
            missing = self.batch_size - len(batch[0])
            if missing:
                batch = [np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for array in batch]
            for values, output in zip(self._run(batch), collected, strict=True):
                output.append(values[: self.batch_size - missing])
        return [np.concatenate(parts) for parts in collected]

    def invoke(self, seed=None):
        """Runs the kernels once on what the inputs hold, for timing; with `seed`, first fills them with random numbers."""
        if seed is not None:
            generator = np.random.default_rng(seed)
            for detail in self._inputs:
                self._interpreter.set_tensor(detail["index"], _random(generator, detail))
        self._interpreter.invoke()

    def tensor(self, index):
        """A tensor of `graph` as the last run left it, as stored (quantized); needs `keep_all`."""
        return self._interpreter.get_tensor(index)

    def delegate_partitions(self):
        """How many runs of ops the CPU delegate (XNNPACK) took over; 1 is best, 0 means that it took none."""
        # Nothing public tells this in ai-edge-litert 2.3; tests/conversion/test_interpreter.py notices when the private call goes.
        return sum(op["op_name"] == "DELEGATE" for op in self._interpreter._get_ops_details())

    def _bind(self, inputs):
        if isinstance(inputs, dict):
            if set(inputs) != set(self.input_names):
                raise DataError(
                    f"The arrays must be named as the inputs, {self.input_names}. Received: {sorted(inputs)}. Rename them."
                )
            inputs = [inputs[name] for name in self.input_names]
        elif not isinstance(inputs, tuple) and not (isinstance(inputs, list) and len(self._inputs) > 1):
            inputs = [inputs]
        arrays = [np.asarray(array) for array in inputs]
        if len(arrays) != len(self._inputs):
            raise DataError(f"{len(self._inputs)} input arrays are required. Received: {len(arrays)}.")
        for array, detail, name in zip(arrays, self._inputs, self.input_names, strict=True):
            sample = tuple(int(size) for size in detail["shape"][1:])
            if array.shape[1:] != sample or len(array) != len(arrays[0]) or not len(array):
                raise DataError(f"Input {name!r} must have the shape (n, {', '.join(map(str, sample))}). Received: {array.shape}.")
            if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and detail["quantization"][0] and np.isnan(array).any()):
                raise DataError(f"Input {name!r} must be numbers, not NaN. Received: an array of {array.dtype}. Clean the data.")
        return arrays

    def _run(self, arrays):
        for array, detail in zip(arrays, self._inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], quantize(array, detail))
        self._interpreter.invoke()
        return [dequantize(self._interpreter.get_tensor(detail["index"]), detail) for detail in self._outputs]


def probe(request, progress):
    """Builds an interpreter of a file and nothing else: what a child process is asked to survive."""
    progress({"stage": "allocate tensors"})
    Interpreter(request["path"])


def _require_survivable(path):
    # The kernels abort the process where the tensors of an op contradict each other, and no check of ours knows all kernels.
    try:
        isolation.run("tfopt.tflite.interpreter:probe", {"path": str(path.resolve())}, timeout=300.0)
    except ConversionError as error:
        if "died" not in str(error):
            raise
        raise LoadError(
            f"A TFLite file that the runtime survives is required. Received: {path}. {error} Convert the model again."
        ) from error


def _unique(names):
    """Tensor names without TensorFlow's `:0`, unless that makes two of them the same."""
    names = list(names)
    short = [name.split(":")[0] for name in names]
    return short if len(set(short)) == len(short) else [f"{name}#{index}" for index, name in enumerate(names)]


def _in_signature_order(by_name, details, names):
    """(details, names) by the signature. TensorFlow's `output_0`, `output_1` tell the model's order, which files may not keep."""
    found = {}
    for name, detail in by_name.items():
        found.setdefault(int(detail["index"]), []).append(name)
    if sum(map(len, found.values())) != len(details):
        return details, names
    places = {index: iter(sorted(own, key=lambda name: (len(name), name))) for index, own in found.items()}
    pairs = [(detail, next(places[int(detail["index"])])) for detail in details]
    if len(pairs) > 1 and all(re.fullmatch(r"output_\d+", name) for _, name in pairs):
        pairs.sort(key=lambda pair: int(pair[1].removeprefix("output_")))
    return [detail for detail, _ in pairs], [name for _, name in pairs]


def _random(generator, detail):
    shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
    if dtype.kind in "iu" and detail["quantization"][0]:
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    # Plain integers are indices as a rule: 0 is valid in every table.
    return np.zeros(shape, dtype) if dtype.kind in "iub" else generator.random(shape).astype(dtype)


@contextlib.contextmanager
def _captured_stderr():
    """Catches what C++ prints while an interpreter is built; yields a function that returns the text so far."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:

        def text():
            log.seek(0)
            return " ".join(log.read().decode(errors="replace").split())

        saved = os.dup(2)
        try:
            os.dup2(log.fileno(), 2)
            yield text
        finally:
            os.dup2(saved, 2)
            os.close(saved)
