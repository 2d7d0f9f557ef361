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
        for name in ("max_accuracy_drop", "timeout"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ArgumentError(f"`{name}` must be a finite number >= 0. Received: {name}={value!r}.")
        if self.scale is not None and self.scale not in data_files.SCALES:
            raise ArgumentError(f"`scale` must be one of {', '.join(data_files.SCALES)}. Received: {self.scale!r}.")
