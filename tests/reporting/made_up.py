"""A small made-up `ConversionResult`; nothing is converted."""

import dataclasses

from tfopt.checking.benchmark import BenchmarkResult, Timing
from tfopt.checking.output_errors import OutputNumbers
from tfopt.checking.result import CheckResult
from tfopt.conversion.result import ConversionResult
from tfopt.conversion.settings import Settings
from tfopt.tflite.flatbuffer import Tensor
from tfopt.tflite.op_audit import Structure


def conversion(*, outputs=None, shape=(1, 8, 8, 1), notes=(), against=True, accuracy=0.97, reasons=(), name="digit", lowered=None):
    """The arguments are what the tests vary."""
    tensors = (
        Tensor(0, "image", shape, "int8", "input", (0.00392157,), (-128,)),
        Tensor(1, name, (1, 10), "float32", "output", (), ()),
    )
    outputs = (numbers(name=name),) if outputs is None else outputs
    return ConversionResult(
        tflite=b"the file",
        check=CheckResult(
            passed=not reasons,
            reasons=reasons,
            notes=("a note of the check",),
            structure=Structure("int8", {"CONV_2D": 2, "SOFTMAX": 1}, tensors, (), 1),
            outputs=outputs,
            samples=400,
            data="validation data (test.npz)",
            reference_accuracy=accuracy,
            accuracy=accuracy,
        ),
        benchmark=BenchmarkResult(
            Timing(0.04, 0.05, 0.3, 8, 28), Timing(0.3, 0.5, 0.6, 32, 52) if against else None, 10.0 if against else None, 1, 50
        ),
        settings=Settings(),
        source={"name": "model.keras", "sha256": "abc123"},
        representative_data="200 samples from train.npy, seed 0",
        lowered=lowered or {},
        rewritten={"average_pool": 1} if lowered else {},
        notes=notes,
    )


def numbers(**changes):
    return dataclasses.replace(OutputNumbers("digit", 35.26, 33.3, 0.99987654, 0.02, 0.001, 5.1, 0.256, 1.0, 0.9925), **changes)
