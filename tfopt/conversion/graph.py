"""Whether the graph in a Keras 2 configuration can be followed from its inputs: tf_keras would look for a lost node for ever."""

_MODELS = ("Functional", "Model", "Sequential")


def require_followable(node):
    """Raises unless every layer of every functional model in a configuration can be reached, one after the other.

    Args:
        node: a configuration, or any part of it.

    Raises:
        ValueError: some layer's inputs come from nowhere, or from itself.
    """
    if isinstance(node, dict):
        config = node.get("config")
        if isinstance(config, dict) and isinstance(config.get("layers"), list) and "input_layers" in config:
            _follow(config["layers"])
        for value in node.values():
            require_followable(value)
    elif isinstance(node, list):
        for item in node:
            require_followable(item)


def _follow(layers):
    first = {}
    waiting = []
    for layer in layers:
        name = layer["config"]["name"] if "name" not in layer else layer["name"]
        first[name] = int(_has_own_input(layer))
    known = {name for name, layer in zip(first, layers, strict=False) if not layer.get("inbound_nodes")}
    done = {(name, first[name]) for name in known} | {(name, 0) for name in known}
    for name, layer in zip(first, layers, strict=False):
        for index, inbound in enumerate(layer.get("inbound_nodes") or ()):
            waiting.append(((name, first[name] + index), set(_references(inbound, first))))
    while waiting:
        reached = [key for key, needed in waiting if needed <= done]
        if not reached:
            raise ValueError(f"the layers {sorted({name for (name, _), _ in waiting})[:5]} cannot be reached from the inputs")
        done.update(reached)
        waiting = [(key, needed) for key, needed in waiting if key not in done]


def _references(item, names):
    """The (layer, node) pairs that the call of a layer takes its tensors from."""
    if isinstance(item, dict):
        item = list(item.values())
    if not isinstance(item, list | tuple):
        return
    if len(item) in (3, 4) and isinstance(item[0], str) and item[0] in names and all(isinstance(n, int) for n in item[1:3]):
        yield item[0], item[1]
        item = item[3:]
    for part in item:
        yield from _references(part, names)


def _has_own_input(layer):
    """Whether a nested model has inputs of its own, on which it was called once before it is called in the graph."""
    config = layer.get("config")
    if layer.get("class_name") not in _MODELS:
        return False
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list) or not layers:
        return False
    head = layers[0]
    inner = head.get("config")
    return (
        head.get("class_name") == "InputLayer" or (isinstance(inner, dict) and "batch_input_shape" in inner) or _has_own_input(head)
    )
