"""Prune Keras 2 (`tf_keras`) models and train them quantization-aware, by tensorflow-model-optimization (tfmot).

For Keras 3 models there are `tfopt.PruningCallback`, `tfopt.prune` and `tfopt.quantize_aware`.
"""

from tfopt.keras2.prune import prune
from tfopt.keras2.pruning_callbacks import pruning_callbacks
from tfopt.keras2.quantize_aware import quantize_aware
from tfopt.keras2.strip import strip

__all__ = ["prune", "pruning_callbacks", "quantize_aware", "strip"]
