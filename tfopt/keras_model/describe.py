"""How messages name layers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer


def describe(layer: AnyLayer) -> str:
    """The name and class of a layer or model: `conv2d_3 (Conv2D)`."""
    return f"{layer.name} ({type(layer).__name__})"


def layer_path(layers: Sequence[AnyLayer]) -> str:
    """Names of nested layers from the outside in, joined by `/`: `encoder/dense_1`.

    Args:
        layers: a layer and the layers around it, outermost first. A wrapper that has the name of its layer is left out.
    """
    around = [
        layer.name
        for layer, child in itertools.pairwise(layers)
        if layer.name != child.name or getattr(layer, "layer", None) is not child
    ]
    return "/".join([*around, layers[-1].name])


def crash_suspects(layers: Iterable[AnyLayer]) -> list[str]:
    """Layers to name if the TFLite converter crashes on a model.

    Args:
        layers: all layers of the model.

    Returns:
        The recurrent layers, which do crash it; else the layers of the caller's own classes; else all class names, sorted.
    """
    layers = list(layers)
    recurrent = [layer for layer in layers if hasattr(layer, "return_sequences") or "RNN" in type(layer).__name__]
    custom = [layer for layer in layers if type(layer).__module__.partition(".")[0] not in ("keras", "tf_keras")]
    return [describe(layer) for layer in recurrent or custom] or sorted({type(layer).__name__ for layer in layers})


def told_by(error: Exception) -> str:
    """The first line of what a layer raised, without what Keras says around it: `in Gate.call(): the gate is closed.`"""
    text = re.sub("\x1b\\[[0-9;]*m", "", str(error))
    told = [line.strip() for line in text.splitlines() if line.strip()]
    own = [line for line in told if not line.startswith(("Could not automatically infer", "Exception encountered"))]
    place = re.search(r"Exception encountered when calling (\w+\.\w+\(\))", text)
    where = f"in {place.group(1)}: " if place else ""
    return where + (own or told or [type(error).__name__])[0][:300].rstrip(".") + "."
