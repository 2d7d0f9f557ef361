"""Find the layer that scales the inputs of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfopt.keras2.tfmot_layers import quantizers
from tfopt.keras_model.kinds import layer_kind
from tfopt.keras_model.walk import walk_layers
from tfopt.quantization.fake_quantize import FakeQuantize
from tfopt.quantization.wrapper import QuantizeWrapper

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel


_RESIZING = ("RandomCrop",)
_IDLE = ("ActivityRegularization", "AlphaDropout", "Dropout", "Functional", "InputLayer", "Pipeline", "Sequential")
_IDLE_PREFIXES = ("Gaussian", "Random", "SpatialDropout")  # noise, augmentation
_AUGMENTING = ("AugMix", "CutMix", "Equalization", "MaxNumBoundingBoxes", "MixUp", "RandAugment", "Solarization")


def find_input_scaling(model: AnyModel) -> AnyLayer | None:
    """The first `Rescaling` or `Normalization` layer of a model if only layers come before it that change nothing at inference.

    Such layers are input layers, augmentation, noise, dropout, and the rounding of a quantization-aware model.
    """
    idle = {id(layer) for layer in quantizers(model)}
    for layer in walk_layers(model):
        kind = layer_kind(layer)
        if id(layer) in idle:
            continue
        if kind in ("Rescaling", "Normalization"):
            return layer
        if kind in _AUGMENTING:
            idle.update(id(inner) for inner in walk_layers(layer))  # which it calls in training alone
        elif not isinstance(layer, (FakeQuantize, QuantizeWrapper)) and not _is_idle(kind):
            return None
    return None


def _is_idle(kind: str | None) -> bool:
    return kind in _IDLE or (kind is not None and kind.startswith(_IDLE_PREFIXES) and kind not in _RESIZING)
