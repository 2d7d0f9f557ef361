"""What is converted, on which data, and how: frozen, validated objects from the caller to the child process."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from tfopt.checking.settings import CheckSettings, is_number, require_integer
from tfopt.data.scaling import require_folder
from tfopt.errors import ArgumentError
from tfopt.loading.options import LoadOptions
from tfopt.request import Request

Quantization = Literal["int8", "int16x8", "dynamic", "float16", "float32"]
QUANTIZATIONS = ("int8", "int16x8", "dynamic", "float16", "float32")

IoDtype = Literal["int8", "uint8", "float32"]
IO_DTYPES = ("int8", "uint8", "float32")

Ptq = Literal["default", "best"]
PTQ_MODES = ("default", "best")

CALIBRATED = ("int8", "int16x8")
"""The quantizations whose activations need ranges."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckSettings):
    """How a model is converted and checked; `tfopt.convert` explains each setting.

    Raises:
        ArgumentError: a setting has a value that cannot be used.
    """

    quantization: Quantization = "int8"
    io: IoDtype = "int8"
    ptq: Ptq = "default"
    skip_lowering: tuple[str, ...] = ()
    allow_float: bool = False
    logits: bool = False
    split_outputs: bool = False
    batch_size: int = 1  # samples in a run, >= 1
    input_shapes: Mapping[str, tuple[int | None, ...]] | None = None
    samples: int = 200  # of the representative data, >= 1
    seed: int = 0
    runs: int = 50  # of the benchmark, >= 1
    timeout: float = 1800.0  # seconds, > 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantization not in QUANTIZATIONS:
            raise ArgumentError(f"`quantization` must be one of {', '.join(QUANTIZATIONS)}. Received: {self.quantization!r}.")
        io_dtype(self.quantization, self.io)
        if self.ptq not in PTQ_MODES:
            raise ArgumentError(f"`ptq` must be one of {', '.join(PTQ_MODES)}. Received: ptq={self.ptq!r}.")
        if self.ptq != "default" and self.quantization != "int8":
            raise ArgumentError(
                f"`ptq` best needs the quantization int8. Received: ptq={self.ptq!r} with {self.quantization}. Leave it out."
            )
        if isinstance(self.skip_lowering, str) or not all(isinstance(name, str) for name in self.skip_lowering):
            raise ArgumentError(f"`skip_lowering` must be a list of names. Received: {self.skip_lowering!r}.")
        for name in ("logits", "split_outputs"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(f"`{name}` must be a bool. Received: {name}={getattr(self, name)!r}.")
        for name in ("batch_size", "samples", "runs"):
            require_integer(name, getattr(self, name))
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise ArgumentError(f"`seed` must be an integer >= 0. Received: seed={self.seed!r}.")
        if not is_number(self.timeout) or not 0 < self.timeout < math.inf:
            raise ArgumentError(f"`timeout` must be a finite number > 0. Received: timeout={self.timeout!r}.")
        if not (self.input_shapes is None or _are_shapes(self.input_shapes)):
            raise ArgumentError(f"`input_shapes` must be a dict of input name -> shape. Received: {self.input_shapes!r}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConversionRequest(Request):
    """A conversion that was asked for. To travel to a child process, model and data must be paths.

    Attributes:
        model: Keras model or path.
        representative_data: see `tfopt.convert`.
        validation_data: see `tfopt.convert`.
        labels: None, or the labels of `validation_data`, if it does not hold them itself.
        float_model: None, or the Keras model that a quantization-aware model was made of.
        settings: how to convert and check.
        loading: how to load `model`, if it is a path.

    Raises:
        ArgumentError: there are labels and no validation data, or a scale and no folder of images.
    """

    model: Any
    representative_data: Any = None
    validation_data: Any = None
    labels: Any = None
    float_model: Any = None
    settings: Settings = dataclasses.field(default_factory=Settings)
    loading: LoadOptions = dataclasses.field(default_factory=LoadOptions)

    def __post_init__(self) -> None:
        require_folder(self.settings.scale, self.representative_data, self.validation_data)
        if self.labels is not None and self.validation_data is None:
            raise ArgumentError(
                "`--labels` are the labels of the validation data. Received: no validation data. Give them with --validate."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileRequest(Request):
    """A conversion from files to a file in a child process.

    Attributes:
        conversion: the conversion, with paths for model and data.
        name: the name that the TFLite file is going to have, for the report.
        staging: the path that its bytes are written to.
    """

    conversion: ConversionRequest
    name: str
    staging: str


def io_dtype(quantization: Quantization, io: IoDtype) -> str:
    """The dtype of a file's inputs and outputs.

    Args:
        quantization: one of `QUANTIZATIONS`.
        io: one of `IO_DTYPES`. An int16x8 file has int16 instead of int8; files without integer activations always have float32.

    Raises:
        ArgumentError: the two do not go together.
    """
    if io not in IO_DTYPES:
        raise ArgumentError(f"`io` must be one of {', '.join(IO_DTYPES)}. Received: io={io!r}.")
    if quantization == "int8":
        return io
    if quantization == "int16x8":
        if io == "uint8":
            raise ArgumentError("`io` of an int16x8 model must be int8 (then int16) or float32. Received: io='uint8'.")
        return "float32" if io == "float32" else "int16"
    if io == "uint8":
        raise ArgumentError(f"`io` uint8 needs the quantization int8. Received: io='uint8' with {quantization}, which has float32.")
    return "float32"


def _are_shapes(shapes: Any) -> bool:
    def is_shape(shape: Any) -> bool:
        return isinstance(shape, (tuple, list)) and all(size is None or (isinstance(size, int) and size > 0) for size in shape)

    return isinstance(shapes, Mapping) and all(is_shape(shape) for shape in shapes.values())
