"""Make a plain model of one that tfmot made quantization-aware, by its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from tfopt.keras2.door import from_config
from tfopt.keras2.rebuild import custom_objects_of
from tfopt.keras2.tfmot_layers import is_model, values_by_kind

if TYPE_CHECKING:
    import tf_keras

_Config: TypeAlias = dict[str, Any]


def strip_quantization(model: tf_keras.Model) -> tf_keras.Model:
    """A plain model with the weights of a quantization-aware one."""
    import tf_keras

    kind = "Sequential" if isinstance(model, tf_keras.Sequential) else "Functional"
    config = {"class_name": kind, "config": _plain_config(model.get_config())}
    plain = from_config(config, custom_objects_of(model))
    _copy_weights(model, plain)
    return plain


def _plain_config(config: _Config) -> _Config:
    """The configuration of a model without tfmot's layers.

    Args:
        config: the configuration of a Sequential or Functional tf_keras model.

    Returns:
        The same with the layers inside the wrappers, under their own names.
    """
    layers: list[_Config] = []
    places: dict[str, Any] = {}  # name of one of tfmot's layers -> the reference that takes its place
    for entry in config["layers"]:
        name, kind = entry["config"]["name"], entry["class_name"].rpartition(">")[2]
        if kind == "QuantizeLayer":
            places[name] = entry["inbound_nodes"][0][0][:3] if "inbound_nodes" in entry else None
            continue
        if kind in ("QuantizeWrapper", "QuantizeWrapperV2"):
            inner = entry["config"]["layer"]
            entry = {**entry, **inner, "config": _plain_activation(inner["config"]), "name": inner["config"]["name"]}
            places[name] = [entry["name"]]
        elif "layers" in entry["config"]:
            entry = {**entry, "config": _plain_config(entry["config"])}
        elif kind == "Lambda":
            entry = {**entry, "registered_name": kind}  # so that Keras asks the custom objects first
        layers.append(entry)
    moved: _Config = {key: _moved(config[key], places) for key in ("input_layers", "output_layers") if key in config}
    for index, entry in enumerate(layers):
        if "inbound_nodes" in entry:
            layers[index] = {**entry, "inbound_nodes": _moved(entry["inbound_nodes"], places)}
    return {**config, **moved, "layers": layers}


def _plain_activation(config: _Config) -> _Config:
    """The configuration of a layer without the wrapper of tfmot around its activation function."""
    name = config["activation"].get("class_name") if isinstance(config.get("activation"), dict) else None
    if name == "QuantizeAwareActivation":
        return _plain_activation({**config, **config["activation"]["config"]})
    return {**config, "activation": "linear"} if name == "NoOpActivation" else config


def _moved(node: Any, places: Mapping[str, Any]) -> Any:
    """References to tensors, [layer, index of the call, index of the tensor, ...], with the names of the layers in `places`."""
    if isinstance(node, dict):
        return {key: _moved(value, places) for key, value in node.items()}
    if not isinstance(node, list | tuple):
        return node
    if len(node) >= 3 and isinstance(node[0], str) and node[0] in places:
        place = places[node[0]]
        return [*place, *node[len(place) : 3], *_moved(node[3:], places)]
    return [_moved(value, places) for value in node]


def _copy_weights(model: tf_keras.Model, plain: tf_keras.Model) -> None:
    """Gives the weights of a model with tfmot's layers to a model without them."""
    sources = {layer.layer.name if _wraps(layer) else layer.name: layer for layer in model.layers}
    for layer in plain.layers:
        source = sources[layer.name]
        if is_model(layer):
            _copy_weights(source, layer)
        elif _wraps(source):
            values = values_by_kind(source)
            layer.set_weights([values[name] for name in values_by_kind(layer)])
        else:
            layer.set_weights(source.get_weights())


def _wraps(layer: tf_keras.layers.Layer) -> bool:
    return hasattr(layer, "quantize_config")
