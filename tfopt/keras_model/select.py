"""Select layers of a model by name, path, class or function."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING, TypeAlias

from tfopt import errors
from tfopt.keras_model.walk import Place, walk

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel

Selector: TypeAlias = str | type | Callable[["AnyLayer"], bool]
"""A glob of a layer's name or of its path (`encoder/dense_*`), a layer class, or a function of a layer that returns a bool."""

Selectors: TypeAlias = Selector | Sequence[Selector] | Set[Selector] | None
"""What `include` and `exclude` take: None, one selector, or a list, tuple or set of selectors."""


def select(places: Sequence[Place], include: Selectors, exclude: Selectors) -> tuple[frozenset[int], frozenset[int]]:
    """The places in a model that `include` and `exclude` match. A place matches if its layer or a layer around it does.

    Args:
        places: of layers, as `walk` finds them.
        include, exclude: see `Selectors`.

    Returns:
        The indices of the places that `include` matches, and the indices of the places that `exclude` matches.

    Raises:
        ArgumentError: a selector matches nothing, or is of a wrong type.
    """
    return _matched("include", include, places), _matched("exclude", exclude, places)


def left_out_layers(model: AnyModel, include: Selectors, exclude: Selectors) -> set[int]:
    """The ids of the layers that `include` and `exclude` leave out, whether or not the layers have weights.

    Raises:
        ArgumentError: a selector matches nothing, or is of a wrong type.
    """
    places = list(walk(model))
    included, excluded = select(places, include, exclude)
    left_out = excluded if include is None else excluded | (set(range(len(places))) - included)
    return {id(places[index].layer) for index in left_out}


def _matched(argument: str, selectors: Selectors, places: Sequence[Place]) -> frozenset[int]:
    matched: set[int] = set()
    for selector in _as_list(selectors):
        found = {index for index, place in enumerate(places) if _matches(argument, selector, place)}
        if not found:
            names = sorted({layer.name for place in places for layer in place.layers})
            close = difflib.get_close_matches(selector, names, cutoff=0.4) if isinstance(selector, str) else []
            raise errors.ArgumentError(
                f"{argument} must match layers that have weights. Received: {argument}={selector!r}, which matches no layer. "
                f"{'Closest' if close else 'There are'}: {', '.join(close or names[:20])}."
            )
        matched |= found
    return frozenset(matched)


def _as_list(selectors: Selectors) -> list[Selector]:
    if selectors is None:
        return []
    if isinstance(selectors, Sequence | Set) and not isinstance(selectors, str):
        return list(selectors)
    return [selectors]


def _matches(argument: str, selector: Selector, place: Place) -> bool:
    layers = place.layers
    if isinstance(selector, str):
        names, paths = [layer.name for layer in layers], [each.path for each in place.chain]
        return any(name == selector or fnmatch.fnmatchcase(name, selector) for name in (*names, *paths))
    if isinstance(selector, type):
        return any(isinstance(layer, selector) for layer in layers)
    if callable(selector):
        return any(selector(layer) for layer in layers)
    raise errors.ArgumentError(
        f"{argument} takes globs of layer names, layer classes and functions of a layer. Received: {argument}={selector!r}."
    )
