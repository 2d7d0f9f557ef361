"""How a model is converted and checked: one frozen, validated object."""

import dataclasses
import math

from tfopt.checking.thresholds import check_thresholds, is_number
from tfopt.data.images import SCALES
from tfopt.errors import ArgumentError
from tfopt.lowering import lower
from tfopt.ptq import headroom, search
from tfopt.tflite.edits import EDITS

QUANTIZATIONS = ("int8", "int16x8", "dynamic", "float16", "float32")


IO_DTYPES = ("int8", "uint8", "float32")


def io_dtype(quantization, io):
    """The dtype of a file's inputs and outputs, as a string: see `to_tflite`."""
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is converted and checked; the meaning of each stands at `convert`."""

    quantization: str = "int8"
    io: str = "int8"
    ptq: str = "default"
    skip_lowering: tuple = ()
    allow_float: bool = False
    batch_size: int = 1  # samples a run, >= 1
    input_shapes: dict | None = None
    samples: int = 200  # of the representative data, >= 1
    seed: int = 0
    scale: str | None = None
    max_accuracy_drop: float = 0.01  # a fraction, >= 0
    min_sqnr: float = 20.0  # dB
    threads: int = 1
    runs: int = 50
    timeout: float = 1800.0  # seconds, > 0

    def __post_init__(self):
        if self.quantization not in QUANTIZATIONS:
            raise ArgumentError(f"`quantization` must be one of {', '.join(QUANTIZATIONS)}. Received: {self.quantization!r}.")
        io_dtype(self.quantization, self.io)
        if self.ptq not in search.MODES:
            raise ArgumentError(f"`ptq` must be one of {', '.join(search.MODES)}. Received: ptq={self.ptq!r}.")
        if self.ptq != "default" and self.quantization != "int8":
            raise ArgumentError(
                f"`ptq` best needs the quantization int8. Received: ptq={self.ptq!r} with {self.quantization}. Leave it out."
            )
        known = [*lower.RULES, *EDITS, headroom.NAME, lower.ALL]
        if isinstance(self.skip_lowering, str) or not set(self.skip_lowering) <= set(known):
            raise ArgumentError(
                f"`skip_lowering` must be a list of names among {', '.join(known)}. Received: {self.skip_lowering!r}."
            )
        for name in ("batch_size", "samples", "threads", "runs"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ArgumentError(f"`{name}` must be an integer of at least 1. Received: {name}={value!r}.")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise ArgumentError(f"`seed` must be an integer >= 0. Received: seed={self.seed!r}.")
        check_thresholds(max_accuracy_drop=self.max_accuracy_drop, min_sqnr=self.min_sqnr)
        if not is_number(self.timeout) or not 0 < self.timeout < math.inf:
            raise ArgumentError(f"`timeout` must be a finite number > 0. Received: timeout={self.timeout!r}.")
        if not (self.input_shapes is None or _are_shapes(self.input_shapes)):
            raise ArgumentError(f"`input_shapes` must be a dict of input name -> shape. Received: {self.input_shapes!r}.")
        if self.scale is not None and self.scale not in tuple(SCALES):
            raise ArgumentError(f"`scale` must be one of {', '.join(SCALES)}. Received: {self.scale!r}.")


def _are_shapes(shapes):
    def is_shape(shape):
        return isinstance(shape, (tuple, list)) and all(size is None or (isinstance(size, int) and size > 0) for size in shape)

    return isinstance(shapes, dict) and all(is_shape(shape) for shape in shapes.values())
