"""Compress Keras models and ship them as verified int8 TFLite files."""

import importlib
from typing import TYPE_CHECKING, Any

from tfopt import keras_registry

__version__ = "0.1.0"

# Public name -> module. A name's module is imported at its first use, so that `import tfopt` stays quick.
_MODULES = {
    "ArgumentError": "tfopt.errors",
    "AttentionTransfer": "tfopt.distillation.feature_losses",
    "BenchmarkResult": "tfopt.checking.benchmark",
    "Block": "tfopt.pruning.masks",
    "CheckResult": "tfopt.checking.result",
    "ConstantSparsity": "tfopt.pruning.schedules",
    "ConversionError": "tfopt.errors",
    "ConversionResult": "tfopt.conversion.result",
    "DataError": "tfopt.errors",
    "DecoupledDistillation": "tfopt.distillation.losses",
    "DistillationLoss": "tfopt.distillation.losses",
    "Distiller": "tfopt.distillation.distiller",
    "FakeQuantize": "tfopt.quantization.fake_quantize",
    "FeatureDistillation": "tfopt.distillation.feature_losses",
    "Inspection": "tfopt.checking.inspect",
    "Int8Evaluation": "tfopt.conversion.evaluation",
    "Interpreter": "tfopt.tflite.interpreter",
    "LaunchError": "tfopt.errors",
    "LoadError": "tfopt.errors",
    "LogitsDistillation": "tfopt.distillation.losses",
    "LowRankReport": "tfopt.distillation.low_rank_report",
    "NByM": "tfopt.pruning.masks",
    "OutputError": "tfopt.errors",
    "PolynomialDecay": "tfopt.pruning.schedules",
    "PreserveSparsity": "tfopt.pruning.preserve",
    "PruningCallback": "tfopt.pruning.callback",
    "PruningError": "tfopt.errors",
    "QuantizationReport": "tfopt.quantization.report",
    "QuantizeWrapper": "tfopt.quantization.wrapper",
    "RelationalDistillation": "tfopt.distillation.feature_losses",
    "RunError": "tfopt.errors",
    "Sensitivity": "tfopt.pruning.sensitivity",
    "SparsityReport": "tfopt.pruning.sparsity",
    "TfoptError": "tfopt.errors",
    "UnsafeModelError": "tfopt.errors",
    "Unstructured": "tfopt.pruning.masks",
    "WarmUp": "tfopt.distribution.learning_rate",
    "benchmark": "tfopt.checking.benchmark",
    "calibrate": "tfopt.quantization.calibrate",
    "check": "tfopt.checking.check",
    "convert": "tfopt.conversion.convert",
    "drop_layers": "tfopt.distillation.drop_layers",
    "inspect": "tfopt.checking.inspect",
    "legacy": "tfopt.legacy",  # a module itself
    "load": "tfopt.loading.load",
    "low_rank": "tfopt.distillation.low_rank",
    "low_rank_report": "tfopt.distillation.low_rank_report",
    "place": "tfopt.distribution.place",
    "prune": "tfopt.pruning.prune",
    "prune_sensitivity": "tfopt.pruning.sensitivity",
    "quantization_report": "tfopt.quantization.report",
    "quantize_aware": "tfopt.quantization.quantize_aware",
    "scale_learning_rate": "tfopt.distribution.learning_rate",
    "sparsity_report": "tfopt.pruning.sparsity",
    "split": "tfopt.keras_model.split",
    "strategy": "tfopt.distribution.strategy",
    "strip_quantization": "tfopt.quantization.quantize_aware",
}

if TYPE_CHECKING:
    from tfopt import legacy
    from tfopt.checking.benchmark import BenchmarkResult, benchmark
    from tfopt.checking.check import check
    from tfopt.checking.inspect import Inspection, inspect
    from tfopt.checking.result import CheckResult
    from tfopt.conversion.convert import convert
    from tfopt.conversion.evaluation import Int8Evaluation
    from tfopt.conversion.result import ConversionResult
    from tfopt.distillation.distiller import Distiller
    from tfopt.distillation.drop_layers import drop_layers
    from tfopt.distillation.feature_losses import AttentionTransfer, FeatureDistillation, RelationalDistillation
    from tfopt.distillation.losses import DecoupledDistillation, DistillationLoss, LogitsDistillation
    from tfopt.distillation.low_rank import low_rank
    from tfopt.distillation.low_rank_report import LowRankReport, low_rank_report
    from tfopt.distribution.learning_rate import WarmUp, scale_learning_rate
    from tfopt.distribution.place import place
    from tfopt.distribution.strategy import strategy
    from tfopt.errors import (
        ArgumentError,
        ConversionError,
        DataError,
        LaunchError,
        LoadError,
        OutputError,
        PruningError,
        RunError,
        TfoptError,
        UnsafeModelError,
    )
    from tfopt.keras_model.split import split
    from tfopt.loading.load import load
    from tfopt.pruning.callback import PruningCallback
    from tfopt.pruning.masks import Block, NByM, Unstructured
    from tfopt.pruning.preserve import PreserveSparsity
    from tfopt.pruning.prune import prune
    from tfopt.pruning.schedules import ConstantSparsity, PolynomialDecay
    from tfopt.pruning.sensitivity import Sensitivity, prune_sensitivity
    from tfopt.pruning.sparsity import SparsityReport, sparsity_report
    from tfopt.quantization.calibrate import calibrate
    from tfopt.quantization.fake_quantize import FakeQuantize
    from tfopt.quantization.quantize_aware import quantize_aware, strip_quantization
    from tfopt.quantization.report import QuantizationReport, quantization_report
    from tfopt.quantization.wrapper import QuantizeWrapper
    from tfopt.tflite.interpreter import Interpreter

__all__ = [
    "ArgumentError",
    "AttentionTransfer",
    "BenchmarkResult",
    "Block",
    "CheckResult",
    "ConstantSparsity",
    "ConversionError",
    "ConversionResult",
    "DataError",
    "DecoupledDistillation",
    "DistillationLoss",
    "Distiller",
    "FakeQuantize",
    "FeatureDistillation",
    "Inspection",
    "Int8Evaluation",
    "Interpreter",
    "LaunchError",
    "LoadError",
    "LogitsDistillation",
    "LowRankReport",
    "NByM",
    "OutputError",
    "PolynomialDecay",
    "PreserveSparsity",
    "PruningCallback",
    "PruningError",
    "QuantizationReport",
    "QuantizeWrapper",
    "RelationalDistillation",
    "RunError",
    "Sensitivity",
    "SparsityReport",
    "TfoptError",
    "UnsafeModelError",
    "Unstructured",
    "WarmUp",
    "benchmark",
    "calibrate",
    "check",
    "convert",
    "drop_layers",
    "inspect",
    "legacy",
    "load",
    "low_rank",
    "low_rank_report",
    "place",
    "prune",
    "prune_sensitivity",
    "quantization_report",
    "quantize_aware",
    "scale_learning_rate",
    "sparsity_report",
    "split",
    "strategy",
    "strip_quantization",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tfopt' has no attribute {name!r}")
    module = importlib.import_module(_MODULES[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})


keras_registry.register()
