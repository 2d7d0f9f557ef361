"""Compress Keras models and ship them as verified int8 TFLite files."""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# Public name -> module. A name's module is imported at its first use, so that `import tfopt` stays quick.
_MODULES = {
    "ArgumentError": "tfopt.errors",
    "BenchmarkResult": "tfopt.conversion.benchmark",
    "CheckResult": "tfopt.conversion.check",
    "ConversionError": "tfopt.errors",
    "ConversionResult": "tfopt.conversion.result",
    "DataError": "tfopt.errors",
    "Interpreter": "tfopt.conversion.interpreter",
    "LoadError": "tfopt.errors",
    "OutputError": "tfopt.errors",
    "TfoptError": "tfopt.errors",
    "UnsafeModelError": "tfopt.errors",
    "benchmark": "tfopt.conversion.benchmark",
    "check": "tfopt.conversion.check",
    "convert": "tfopt.conversion.convert",
    "inspect": "tfopt.conversion.inspect",
    "load": "tfopt.conversion.load",
}

if TYPE_CHECKING:
    from tfopt.conversion.benchmark import BenchmarkResult, benchmark
    from tfopt.conversion.check import CheckResult, check
    from tfopt.conversion.convert import convert
    from tfopt.conversion.inspect import inspect
    from tfopt.conversion.interpreter import Interpreter
    from tfopt.conversion.load import load
    from tfopt.conversion.result import ConversionResult
    from tfopt.errors import (
        ArgumentError,
        ConversionError,
        DataError,
        LoadError,
        OutputError,
        TfoptError,
        UnsafeModelError,
    )

__all__ = [
    "ArgumentError",
    "BenchmarkResult",
    "CheckResult",
    "ConversionError",
    "ConversionResult",
    "DataError",
    "Interpreter",
    "LoadError",
    "OutputError",
    "TfoptError",
    "UnsafeModelError",
    "benchmark",
    "check",
    "convert",
    "inspect",
    "load",
]


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module 'tfopt' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__():
    return sorted({*globals(), *_MODULES})
