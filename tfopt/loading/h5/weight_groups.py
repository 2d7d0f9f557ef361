"""The groups of arrays in an HDF5 file of weights."""

import numpy as np

from tfopt.errors import LoadError


def read_groups(path):
    """The weights of an HDF5 file by layer, in the file's order.

    Args:
        path: of the file.

    Returns:
        dict of layer name -> list of (name, array), layers without weights left out.

    Raises:
        LoadError: the file is damaged, or no Keras weights are in it.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            root = file["model_weights"] if "model_weights" in file and "layer_names" not in file.attrs else file
            groups = {}
            for layer in _names(root.attrs, "layer_names"):
                arrays = [(name, _array(root[layer], name, layer, path)) for name in _names(root[layer].attrs, "weight_names")]
                if arrays and layer in groups:
                    raise damaged(path, f"two layers of the name {layer!r}")
                if arrays:
                    groups[layer] = arrays
            extra = root.get("top_level_model_weights")
            if extra is not None and _names(extra.attrs, "weight_names"):
                raise damaged(path, "weights that belong to the model itself and to no layer")
            return groups
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
        raise damaged(path, str(error)) from error


def is_new_layout(path):
    """Whether a file of weights has the layout of `.weights.h5`, which Keras itself reads."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "layer_names" not in file.attrs and "layer_names0" not in file.attrs and "model_weights" not in file
    except OSError as error:
        raise damaged(path, str(error)) from error


def require_all_in(path, model):
    """Raises unless every array of a `.weights.h5` file is one of the model's variables, and every weight is in the file.

    Args:
        path: of the file.
        model: the model after `load_weights`.

    Returns:
        int, how many arrays there are.
    """
    import h5py

    def key(array):
        array = np.ascontiguousarray(array)
        return array.shape, array.tobytes()

    found = []
    with h5py.File(path, "r") as file:

        def visit(name, item):
            aside = name.startswith(("optimizer", "_optimizer", "metrics", "compile")) or "seed_generator" in name
            if isinstance(item, h5py.Dataset) and not aside:
                found.append((name, key(item[()])))

        file.visititems(visit)
    own = [key(weight) for weight in model.get_weights()]
    for name, value in found:
        if value not in own:
            raise damaged(path, f"weights at {name!r}, which the model does not have")
        own.remove(value)
    if own:
        raise damaged(path, f"{len(found)} weights, {len(own)} fewer than the model has")
    return len(found)


def _array(group, name, layer, path):
    import h5py

    found = group[name]
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiub" or found.size > 2**31:
        raise damaged(path, f"weights of layer {layer!r} that are no numbers")
    if found.external:
        raise damaged(path, f"weights of layer {layer!r} that lie in another file")
    return found[()]


def _names(attributes, key):
    """A list of names, which Keras splits into `key0`, `key1`, ... where it is long."""
    if key in attributes:
        found = list(attributes[key])
    else:
        found, index = [], 0
        while f"{key}{index}" in attributes:
            found += list(attributes[f"{key}{index}"])
            index += 1
        if not index:
            raise KeyError(f"attribute {key!r} is missing")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


def damaged(path, what):
    return LoadError(f"The weights in the file must be those of its model. Received: {path} with {what}. Copy or save it again.")
