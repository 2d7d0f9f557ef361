"""`convert()`: a Keras model becomes a TFLite file that is checked against it and timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from tfopt import files, isolation
from tfopt.conversion.export_job import InChild, make_files
from tfopt.conversion.pipeline import run
from tfopt.conversion.result import ConversionResult
from tfopt.conversion.settings import ConversionRequest, FileRequest, IoDtype, Ptq, Quantization, Settings
from tfopt.data.scaling import Scale
from tfopt.files import PathLike
from tfopt.loading.options import Architecture, CustomObjects, LoadOptions
from tfopt.progress import Progress, progress_bar

if TYPE_CHECKING:
    import keras


def convert(
    model_or_path: keras.Model | PathLike,
    *,
    representative_data: Any = None,
    validation_data: Any = None,
    float_model: keras.Model | None = None,
    quantization: Quantization = "int8",
    io: IoDtype = "int8",
    ptq: Ptq = "default",
    skip_lowering: Sequence[str] = (),
    allow_float: bool = False,
    logits: bool = False,
    split_outputs: bool = False,
    batch_size: int = 1,
    input_shapes: Mapping[str, tuple[int | None, ...]] | None = None,
    samples: int = 200,
    seed: int = 0,
    scale: Scale | None = None,
    custom_objects: CustomObjects = None,
    architecture: Architecture = None,
    allow_unsafe: bool = False,
    allow_large: bool = False,
    max_accuracy_drop: float = 0.01,
    min_sqnr: float = 20.0,
    max_qat_error_lsb: float | None = None,
    threads: int = 1,
    runs: int = 50,
    timeout: float = 1800.0,
    verbose: bool = True,
) -> ConversionResult:
    """Converts a Keras model to TFLite, checks the file against the model and times it against its float32 twin.

    The converter runs in a child process: if the model crashes it, you get a `ConversionError`, and your process lives on. The
    child is kept for the next conversion of this process, which starts faster.

    Example:

    ```python
    result = tfopt.convert(model, representative_data=x_train, validation_data=(x_test, y_test))
    print(result)  # the table of the command line
    result.save("model.tflite")
    ```

    Args:
        model_or_path: Keras 3 or Keras 2 (`tf_keras`) model, or the path of a file that `load` reads.
        representative_data: the origin of the ranges of int8 and int16x8; the other kinds need no data. Anything that
            `open_samples.open_samples` takes, such as an array (n, ...), a `tf.data.Dataset` or a path; labels in it are ignored.
            "synthetic" stands for random numbers, and the report then says that the file is uncalibrated.
        validation_data: the data to check on: as above, or (data, labels). Default: the representative data.
        float_model: None or, for a quantization-aware model, the Keras model that it was made of: the check then reports the
            distance to that model as well. The verdict is the comparison with the quantization-aware model.
        quantization: "int8" (weights and activations), "int16x8" (int16 activations, int8 weights), "dynamic" (int8 weights
            only), "float16" (weights only), "float32".
        io: "int8", "uint8" or "float32", the dtype of the file's inputs and outputs (int16 instead of int8 for int16x8; float32
            for the kinds without integer activations).
        ptq: "default" or "best": the way to int8 without training. "best" takes several times as long; it equalizes channels,
            corrects biases and chooses ranges, and keeps the changes that the representative data show to be better: see
            `ptq.search`.
        skip_lowering: names of rewritings (`traced_model.REWRITINGS`) that are left out, or ("all",). A rewriting keeps the float
            outputs and lets layers stay int8, or run faster; the report lists the layers that it touched. With "wider_ranges" the
            ranges of small models end at the values that were seen: see `ptq.headroom`.
        allow_float: bool, whether ops without an int8 kernel may stay float in an int8 file, and layers whose int8 form is so far
            off that the check fails; they are listed in the check's notes.
        logits: bool, whether the file ends before the last softmax or sigmoid of each output, whose 256 levels are too few for
            thousands of classes. An output `y` that changes is `y_logits` in the file.
        split_outputs: bool, whether the inputs of a Concatenate that makes an output become outputs of their own, so that boxes and
            scores each have their own scale. The part of output `y` that layer `z` computes is `y_z` in the file.
        batch_size: int >= 1, samples in a run, fixed in the file.
        input_shapes: None or dict of input name -> shape with batch, for dimensions that the model leaves as None. Default: the
            dimensions of the data.
        samples: int >= 1, number of representative samples that are drawn.
        seed: int >= 0, of that draw.
        scale: "0..1", "-1..1" or "0..255", for folders of images.
        custom_objects, architecture, allow_unsafe: as for `load`, if a path is given.
        allow_large: bool, whether the content of a file, also of data, may take any memory: see `load`.
        max_accuracy_drop: float >= 0, fraction of accuracy that may be lost.
        min_sqnr: float, dB that every output must reach: see `output_errors.OutputNumbers`.
        max_qat_error_lsb: float >= 0, for a quantization-aware model: steps of an int8 output by which 99.9 % of its values may
            differ from the model. Default: by kind of network, see `quantization_aware.ERROR_LIMITS`.
        threads: int >= 1, of the interpreter in check and benchmark.
        runs: int >= 1, timed runs in the benchmark.
        timeout: float, seconds that the converter may take.
        verbose: bool, whether a progress bar is drawn on a terminal or in a notebook.

    Returns:
        `ConversionResult`. A failed check does not raise: see `.check.passed`, `.check.reasons`.

    Raises:
        ArgumentError, DataError, LoadError: something that was given cannot be used.
        ConversionError: the converter refused the model, crashed, hung, or ran out of memory.
    """
    names = skip_lowering if isinstance(skip_lowering, str) else tuple(skip_lowering)  # `Settings` refuses a str
    settings = Settings(
        quantization=quantization, io=io, ptq=ptq,
        skip_lowering=cast(tuple[str, ...], names),
        allow_float=allow_float, logits=logits, split_outputs=split_outputs, batch_size=batch_size, input_shapes=input_shapes,
        samples=samples, seed=seed, scale=scale, max_accuracy_drop=max_accuracy_drop, min_sqnr=min_sqnr,
        max_qat_error_lsb=max_qat_error_lsb, threads=threads, runs=runs, timeout=timeout,
    )  # fmt: skip
    request = ConversionRequest(
        model=model_or_path,
        representative_data=representative_data,
        validation_data=validation_data,
        float_model=float_model,
        settings=settings,
        loading=LoadOptions(
            custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe, allow_large=allow_large
        ),
    )
    with isolation.warm_child() as child, progress_bar(verbose) as progress:
        return run(request, InChild(child, timeout), progress)


def convert_file(request: str, progress: Progress) -> dict[str, Any]:
    """Converts a model file, in this process, which the command line starts as a child.

    Args:
        request: a `FileRequest` as JSON. The bytes of the file are written to its `staging`.
        progress: called with {"stage", "done", "total"} and {"suspects"}.

    Returns:
        The report, as `ConversionResult.report` makes it.
    """
    job = FileRequest.from_json(request)
    result = run(job.conversion, make_files, progress)
    files.write({job.staging: result.tflite})
    return result.report(job.name)
