"""How a model is converted and checked: one frozen, validated object."""

import dataclasses
import math

from tfopt.conversion import data_files, export, lower, post_training, rewrite, wider_ranges
from tfopt.errors import ArgumentError


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
        if self.quantization not in export.QUANTIZATIONS:
            raise ArgumentError(
                f"`quantization` must be one of {', '.join(export.QUANTIZATIONS)}. Received: {self.quantization!r}."
            )
        export.io_dtype(self.quantization, self.io)
        if self.ptq not in post_training.MODES:
            raise ArgumentError(f"`ptq` must be one of {', '.join(post_training.MODES)}. Received: ptq={self.ptq!r}.")
        if self.ptq != "default" and self.quantization != "int8":
            raise ArgumentError(
                f"`ptq` best needs the quantization int8. Received: ptq={self.ptq!r} with {self.quantization}. Leave it out."
            )
        known = [*lower.RULES, *rewrite.EDITS, wider_ranges.NAME, lower.ALL]
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
        if not _is_number(self.timeout) or not 0 < self.timeout < math.inf:
            raise ArgumentError(f"`timeout` must be a finite number > 0. Received: timeout={self.timeout!r}.")
        if not (self.input_shapes is None or _are_shapes(self.input_shapes)):
            raise ArgumentError(f"`input_shapes` must be a dict of input name -> shape. Received: {self.input_shapes!r}.")
        if self.scale is not None and self.scale not in tuple(data_files.SCALES):
            raise ArgumentError(f"`scale` must be one of {', '.join(data_files.SCALES)}. Received: {self.scale!r}.")


def check_thresholds(*, max_accuracy_drop, min_sqnr):
    """Raises `ArgumentError` unless both are numbers, the first a fraction >= 0."""
    if not _is_number(max_accuracy_drop) or not 0 <= max_accuracy_drop < math.inf:
        raise ArgumentError(f"`max_accuracy_drop` must be a finite number >= 0. Received: {max_accuracy_drop!r}.")
    if not _is_number(min_sqnr) or math.isnan(min_sqnr):
        raise ArgumentError(f"`min_sqnr` must be a number of dB. Received: {min_sqnr!r}.")


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_shapes(shapes):
    def is_shape(shape):
        return isinstance(shape, (tuple, list)) and all(size is None or (isinstance(size, int) and size > 0) for size in shape)

    return isinstance(shapes, dict) and all(is_shape(shape) for shape in shapes.values())
