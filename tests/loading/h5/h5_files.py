"""`.h5` files written array by array: generations and damages of which there is no real file at hand."""

import json

import h5py


def write(path, layers, weights, **attributes):
    """An `.h5` as Keras writes it: `layers` a list (Sequential) or a configuration, `weights` layer -> list of (name, array)."""
    config = {"class_name": "Sequential", "config": layers} if isinstance(layers, list) else layers
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        for name, value in attributes.items():
            file.attrs[name] = value.encode()
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name, _ in arrays]
            for name, array in arrays:
                group[name] = array
    return path


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}
