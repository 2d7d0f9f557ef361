"""The plain configuration and weights of a model that tfmot made quantization-aware."""

from tfopt.keras2.quantizers import by_kind, is_model


def plain_config(config):
    """The configuration of a model without tfmot's layers.

    Args:
        config: what `get_config()` of a Sequential or functional tf_keras model returned.

    Returns:
        dict, the same with the layers inside the wrappers, under their own names.
    """
    layers, places = [], {}
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
            entry = {**entry, "config": plain_config(entry["config"])}
        elif kind == "Lambda":
            entry = {**entry, "registered_name": kind}  # where Keras asks custom objects first
        layers.append(entry)
    moved = {key: _moved(config[key], places) for key in ("input_layers", "output_layers") if key in config}
    for index, entry in enumerate(layers):
        if "inbound_nodes" in entry:
            layers[index] = {**entry, "inbound_nodes": _moved(entry["inbound_nodes"], places)}
    return {**config, **moved, "layers": layers}


def _plain_activation(config):
    """The configuration of a layer without what tfmot wrapped around its activation function."""
    name = config["activation"].get("class_name") if isinstance(config.get("activation"), dict) else None
    if name == "QuantizeAwareActivation":
        return _plain_activation({**config, **config["activation"]["config"]})
    return {**config, "activation": "linear"} if name == "NoOpActivation" else config


def _moved(node, places):
    """References to tensors, [layer, index of the call, index of the tensor, ...], to where the layers are now."""
    if isinstance(node, dict):
        return {key: _moved(value, places) for key, value in node.items()}
    if not isinstance(node, list | tuple):
        return node
    if len(node) >= 3 and isinstance(node[0], str) and node[0] in places:
        place = places[node[0]]
        return [*place, *node[len(place) : 3], *_moved(node[3:], places)]
    return [_moved(value, places) for value in node]


def copy_weights(model, plain):
    """Gives the weights of a model with tfmot's layers to one without them."""
    sources = {layer.layer.name if _wraps(layer) else layer.name: layer for layer in model.layers}
    for layer in plain.layers:
        source = sources[layer.name]
        if is_model(layer):
            copy_weights(source, layer)
        elif _wraps(source):
            values = by_kind(source)
            layer.set_weights([values[name] for name in by_kind(layer)])
        else:
            layer.set_weights(source.get_weights())


def _wraps(layer):
    return hasattr(layer, "quantize_config")
