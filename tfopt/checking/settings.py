"""How files are checked, timed and inspected: frozen, validated objects from the caller to the child process."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfopt.data.scaling import SCALES, Scale, require_folder
from tfopt.errors import ArgumentError
from tfopt.loading.options import LoadOptions
from tfopt.request import Request


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """How a file is checked.

    Raises:
        ArgumentError: a setting has a value that cannot be used.
    """

    max_accuracy_drop: float = 0.01  # a fraction, >= 0
    min_sqnr: float = 20.0  # dB
    max_qat_error_lsb: float | None = None  # steps of an output, >= 0; None: by kind of network
    threads: int = 1  # of the interpreter, >= 1
    scale: Scale | None = None

    def __post_init__(self) -> None:
        if not is_number(self.max_accuracy_drop) or not 0 <= self.max_accuracy_drop < math.inf:
            raise ArgumentError(f"`max_accuracy_drop` must be a finite number >= 0. Received: {self.max_accuracy_drop!r}.")
        if not is_number(self.min_sqnr) or math.isnan(self.min_sqnr):
            raise ArgumentError(f"`min_sqnr` must be a number of dB. Received: {self.min_sqnr!r}.")
        limit = self.max_qat_error_lsb
        if limit is not None and (not is_number(limit) or not limit >= 0):
            raise ArgumentError(f"`max_qat_error_lsb` must be None or a number of steps >= 0. Received: {limit!r}.")
        require_integer("threads", self.threads)
        if self.scale is not None and self.scale not in tuple(SCALES):
            raise ArgumentError(f"`scale` must be one of {', '.join(SCALES)}. Received: scale={self.scale!r}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """How files are timed.

    Raises:
        ArgumentError: a setting has a value that cannot be used.
    """

    threads: int = 1  # of the CPU kernels, >= 1
    runs: int = 50  # timed runs of each file, >= 1
    warmup: int = 5  # runs of each file before the timed ones, >= 0

    def __post_init__(self) -> None:
        for name, least in (("threads", 1), ("runs", 1), ("warmup", 0)):
            require_integer(name, getattr(self, name), least)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkRequest(Request):
    """The request for a benchmark of files, given by their paths, on the first samples of `data`.

    Raises:
        ArgumentError: a scale is given for something else than a folder of images.
    """

    tflite: str
    against: str | None = None
    data: str | None = None
    scale: Scale | None = None
    allow_large: bool = False
    settings: BenchmarkSettings = dataclasses.field(default_factory=BenchmarkSettings)

    def __post_init__(self) -> None:
        require_folder(self.scale, self.data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckRequest(Request):
    """The request for a check. To travel to a child process, all but the settings must be paths.

    Attributes:
        tflite: path or bytes of a TFLite file.
        reference: see `tfopt.check`.
        data: see `tfopt.check`.
        labels: see `tfopt.check`.
        layers: whether the outputs of the layers are compared, too.
        settings: the limits.
        loading: how to load `reference`, if it is a path.

    Raises:
        ArgumentError: data are required but missing, or a scale is given for something else than a folder of images.
    """

    tflite: Any
    reference: Any = None
    data: Any = None
    labels: Any = None
    layers: bool = False
    settings: CheckSettings = dataclasses.field(default_factory=CheckSettings)
    loading: LoadOptions = dataclasses.field(default_factory=LoadOptions)

    def __post_init__(self) -> None:
        require_folder(self.settings.scale, self.data)
        remedy = "Received: no data. Give them with --data (Python: data=...)."
        if self.layers and self.data is None:
            raise ArgumentError(f"`data` is required to compare layers. {remedy}")
        if self.data is None and (self.reference is not None or self.labels is not None):
            raise ArgumentError(f"`data` is required to compare with a reference or labels. {remedy}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectRequest(Request):
    """The request for an inspection of a file, given by its path."""

    path: str
    loading: LoadOptions = dataclasses.field(default_factory=LoadOptions)


def is_number(value: Any) -> bool:
    """Whether a value is an int or a float; a bool is neither."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def require_integer(name: str, value: Any, least: int = 1) -> None:
    """Raises `ArgumentError` unless a setting is an int of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}.")
