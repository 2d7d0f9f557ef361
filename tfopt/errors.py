"""The errors of tfopt. Each message says what is required, what was received, and a remedy."""

from __future__ import annotations


class TfoptError(Exception):
    """Any failure that tfopt foresees. `exit_code` is what the command line returns for it."""

    exit_code: int = 2


class ArgumentError(TfoptError, ValueError):
    """An argument has a value that cannot be used."""


class DataError(TfoptError, ValueError):
    """Representative or validation data, or labels, do not fit the model."""


class LoadError(TfoptError):
    """A model file is missing, damaged, or of a kind that cannot be read."""


class UnsafeModelError(LoadError):
    """A model file holds code that would run when it is loaded."""


class OutputError(TfoptError, OSError):
    """A result cannot be written: the file exists, or its folder is missing, read-only or full."""


class ConversionError(TfoptError):
    """The converter refused the model, crashed, hung or ran out of memory."""

    exit_code: int = 3


class RunError(ConversionError):
    """A TFLite file does not run on the data: the runtime refuses them, or ends its process."""


class PruningError(TfoptError):
    """Pruning cannot reach or hold its sparsity."""


class LaunchError(TfoptError):
    """A job of several workers cannot be started in the requested way."""
