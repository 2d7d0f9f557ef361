"""How a model is converted and checked: one frozen, validated object."""

import dataclasses
import math

from tfopt.conversion import data_files, export
from tfopt.errors import ArgumentError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is converted and checked; the meaning of each stands at `convert`."""

    quantization: str = "int8"
    io: str = "int8"
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
        if self.quantization not in export.QUANTIZATIONS:
            raise ArgumentError(
                f"`quantization` must be one of {', '.join(export.QUANTIZATIONS)}. Received: {self.quantization!r}."
            )
        export.io_dtype(self.quantization, self.io)
        for name in ("batch_size", "samples", "threads", "runs"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ArgumentError(f"`{name}` must be an integer of at least 1. Received: {name}={value!r}.")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise ArgumentError(f"`seed` must be an integer >= 0. Received: seed={self.seed!r}.")
        if not isinstance(self.min_sqnr, (int, float)) or math.isnan(self.min_sqnr):
            raise ArgumentError(f"`min_sqnr` must be a number of dB. Received: min_sqnr={self.min_sqnr!r}.")
        for name, least in (("max_accuracy_drop", ">= 0"), ("timeout", "> 0")):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf or (value == 0 and least == "> 0"):
                raise ArgumentError(f"`{name}` must be a finite number {least}. Received: {name}={value!r}.")
        if not (self.input_shapes is None or _are_shapes(self.input_shapes)):
            raise ArgumentError(f"`input_shapes` must be a dict of input name -> shape. Received: {self.input_shapes!r}.")
        if self.scale is not None and self.scale not in tuple(data_files.SCALES):
            raise ArgumentError(f"`scale` must be one of {', '.join(data_files.SCALES)}. Received: {self.scale!r}.")


def _are_shapes(shapes):
    def is_shape(shape):
        return isinstance(shape, (tuple, list)) and all(size is None or (isinstance(size, int) and size > 0) for size in shape)

    return isinstance(shapes, dict) and all(is_shape(shape) for shape in shapes.values())
