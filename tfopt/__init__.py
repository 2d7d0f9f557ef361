"""Compress Keras models and ship them as verified int8 TFLite files."""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# Public name -> module. A name's module is imported at its first use, so that `import tfopt` stays quick.
_MODULES = {
    "ArgumentError": "tfopt.errors",
    "BenchmarkResult": "tfopt.conversion.benchmark",
    "Block": "tfopt.pruning.masks",
    "CheckResult": "tfopt.conversion.check",
    "ConstantSparsity": "tfopt.pruning.schedules",
    "ConversionError": "tfopt.errors",
    "ConversionResult": "tfopt.conversion.result",
    "DataError": "tfopt.errors",
    "Interpreter": "tfopt.conversion.interpreter",
    "LoadError": "tfopt.errors",
    "NByM": "tfopt.pruning.masks",
    "OutputError": "tfopt.errors",
    "PolynomialDecay": "tfopt.pruning.schedules",
    "PreserveSparsity": "tfopt.pruning.callback",
    "PruningCallback": "tfopt.pruning.callback",
    "PruningError": "tfopt.errors",
    "Sensitivity": "tfopt.pruning.sensitivity",
    "SparsityReport": "tfopt.pruning.sparsity",
    "TfoptError": "tfopt.errors",
    "UnsafeModelError": "tfopt.errors",
    "Unstructured": "tfopt.pruning.masks",
    "benchmark": "tfopt.conversion.benchmark",
    "check": "tfopt.conversion.check",
    "convert": "tfopt.conversion.convert",
    "inspect": "tfopt.conversion.inspect",
    "legacy": "tfopt.legacy",  # a module itself
    "load": "tfopt.conversion.load",
    "prune": "tfopt.pruning.prune",
    "prune_sensitivity": "tfopt.pruning.sensitivity",
    "sparsity_report": "tfopt.pruning.sparsity",
}

if TYPE_CHECKING:
    from tfopt import legacy
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
        PruningError,
        TfoptError,
        UnsafeModelError,
    )
    from tfopt.pruning.callback import PreserveSparsity, PruningCallback
    from tfopt.pruning.masks import Block, NByM, Unstructured
    from tfopt.pruning.prune import prune
    from tfopt.pruning.schedules import ConstantSparsity, PolynomialDecay
    from tfopt.pruning.sensitivity import Sensitivity, prune_sensitivity
    from tfopt.pruning.sparsity import SparsityReport, sparsity_report

__all__ = [
    "ArgumentError",
    "BenchmarkResult",
    "Block",
    "CheckResult",
    "ConstantSparsity",
    "ConversionError",
    "ConversionResult",
    "DataError",
    "Interpreter",
    "LoadError",
    "NByM",
    "OutputError",
    "PolynomialDecay",
    "PreserveSparsity",
    "PruningCallback",
    "PruningError",
    "Sensitivity",
    "SparsityReport",
    "TfoptError",
    "UnsafeModelError",
    "Unstructured",
    "benchmark",
    "check",
    "convert",
    "inspect",
    "legacy",
    "load",
    "prune",
    "prune_sensitivity",
    "sparsity_report",
]


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module 'tfopt' has no attribute {name!r}")
    module = importlib.import_module(_MODULES[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__():
    return sorted({*globals(), *_MODULES})
