"""The arrays in an HDF5 file, one group for each layer."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt import sizes
from tfopt.errors import LoadError

if TYPE_CHECKING:
    import h5py

Array = npt.NDArray[Any]

Group = list[tuple[str, Array]]
"""(name, array) of the weights of one layer, in the file's order."""


def read_groups(path: pathlib.Path, *, allow_large: bool = False) -> dict[str, Group]:
    """Reads the weights of an HDF5 file in the layout of Keras 1 and 2.

    Example: `read_groups(pathlib.Path("model.h5"))` -> {"dense": [("dense/kernel:0", array), ("dense/bias:0", array)]}

    Args:
        path: of the file.
        allow_large: whether the arrays may take any memory.

    Returns:
        Group by layer name, in the file's order, without layers that have no weights.

    Raises:
        LoadError: the file is damaged or too large, or no Keras weights are in it.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            root = file["model_weights"] if "model_weights" in file and "layer_names" not in file.attrs else file
            groups: dict[str, Group] = {}
            needed = 0
            for layer in _names(root.attrs, "layer_names"):
                arrays = []
                for name in _names(root[layer].attrs, "weight_names"):
                    stored = _stored(root[layer], name, layer, path)
                    # An array may be listed, or linked, any number of times.
                    needed += sizes.array_room(stored.shape, stored.dtype.itemsize)
                    sizes.require_room(needed, path.stat().st_size, "the arrays", allow_large=allow_large, path=path)
                    arrays.append((name, stored[()]))
                if arrays and layer in groups:
                    raise damaged(path, f"two layers of the name {layer!r}")
                if arrays:
                    groups[layer] = arrays
            extra = root.get("top_level_model_weights")
            if extra is not None and _names(extra.attrs, "weight_names"):
                raise damaged(path, "weights that belong to the model itself and not to a layer")
            return groups
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
        raise damaged(path, str(error)) from error


def is_new_layout(path: pathlib.Path) -> bool:
    """Whether an HDF5 file has the layout of `.weights.h5`, which Keras itself reads."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "layer_names" not in file.attrs and "layer_names0" not in file.attrs and "model_weights" not in file
    except OSError as error:
        raise damaged(path, str(error)) from error


def require_all_in(path: pathlib.Path, model: Any) -> int:
    """Raises an error unless the arrays of a `.weights.h5` file are exactly the weights of the model.

    Args:
        path: of the file.
        model: a Keras model after `load_weights`.

    Returns:
        The number of arrays.

    Raises:
        LoadError: an array is no weight of the model, or a weight of the model is not in the file.
    """
    import h5py

    def key(array: npt.ArrayLike) -> tuple[tuple[int, ...], bytes]:
        whole = np.ascontiguousarray(array)
        return whole.shape, whole.tobytes()

    found = []
    with h5py.File(path, "r") as file:

        def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
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


def _stored(group: h5py.Group, name: str, layer: str, path: pathlib.Path) -> h5py.Dataset:
    import h5py

    found = group[name]
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiub" or found.size > 2**31:
        raise damaged(path, f"weights of layer {layer!r} that are not numbers")
    if found.external:
        raise damaged(path, f"weights of layer {layer!r} that are in another file")
    return found


def _names(attributes: Mapping[str, Any], key: str) -> list[str]:
    """A list of names, which Keras splits into `key0`, `key1`, ... if it is long."""
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


def damaged(path: pathlib.Path, what: str) -> LoadError:
    """The error for a file whose weights do not fit; `what` says what the file has or lacks."""
    return LoadError(f"The weights in the file must be those of its model. Received: {path} with {what}. Copy or save it again.")
