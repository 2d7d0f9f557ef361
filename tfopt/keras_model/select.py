"""Select layers and weights of a model by name, path, class or function."""

import dataclasses
import difflib
import fnmatch

from tfopt import errors
from tfopt.keras_model.walk import layer_path, sublayers


def select_weights(weights, include, exclude):
    """Which weights are asked for, by the layers around them.

    Args:
        weights: list of `Weight`.
        include, exclude: None, or one or a list of: a glob of a layer's name or of its path (`encoder/dense_*`), a layer class,
            a function of a layer that returns a bool.

    Returns:
        (set of ids of the weights that `include` matches, the same for `exclude`).

    Raises:
        ArgumentError: one of them matches nothing.
    """
    chosen = []
    for argument, patterns in (("include", include), ("exclude", exclude)):
        matched = set()
        patterns = [] if patterns is None else patterns if isinstance(patterns, list | tuple | set) else [patterns]
        for pattern in patterns:
            found = {id(weight) for weight in weights if _matches(argument, pattern, weight.layers)}
            if not found:
                names = sorted({layer.name for weight in weights for layer in weight.layers})
                close = difflib.get_close_matches(pattern, names, cutoff=0.4) if isinstance(pattern, str) else []
                raise errors.ArgumentError(
                    f"{argument} must match layers that have weights. Received: {argument}={pattern!r}, which matches none. "
                    f"{'Closest' if close else 'There are'}: {', '.join(close or names[:20])}."
                )
            matched |= found
        chosen.append(matched)
    return tuple(chosen)


@dataclasses.dataclass(frozen=True)
class _Place:
    layers: tuple


def left_out_layers(model, include, exclude):
    """ids of the layers that `include` and `exclude` leave out, whether or not they have weights.

    Args:
        model: a Keras 3 or Keras 2 model.
        include, exclude: as for `select_weights`.
    """
    places = []

    def walk(layer, around):
        for inner in sublayers(layer):
            places.append(_Place((*around, inner)))
            walk(inner, places[-1].layers)

    walk(model, ())
    included, excluded = select_weights(places, include, exclude)
    return {
        id(place.layers[-1]) for place in places if id(place) in excluded or (include is not None and id(place) not in included)
    }


def _matches(argument, pattern, layers):
    if isinstance(pattern, str):
        names = [layer.name for layer in layers]
        paths = [layer_path(layers[: end + 1]) for end in range(len(names))]
        return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in (*names, *paths))
    if isinstance(pattern, type):
        return any(isinstance(layer, pattern) for layer in layers)
    if callable(pattern):
        return any(pattern(layer) for layer in layers)
    raise errors.ArgumentError(
        f"{argument} takes globs of layer names, layer classes and functions of a layer. Received: {argument}={pattern!r}."
    )
