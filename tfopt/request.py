"""What travels from one process of tfopt to another: a frozen dataclass, as JSON and back."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Self


class Request:
    """The base of the frozen dataclasses that a child process is asked with.

    Fields may hold numbers, strings, booleans, None, tuples, dicts with string keys, and dataclasses.
    """

    def to_json(self) -> str:
        """The request as one JSON document; raises `TypeError` if a field holds something that is no JSON."""
        return json.dumps(dataclasses.asdict(typing.cast(Any, self)))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The request that `to_json` wrote, with tuples and dataclasses where the fields have them."""
        request: Self = _rebuilt(cls, json.loads(text))
        return request


@dataclasses.dataclass(frozen=True)
class PathRequest(Request):
    """A request about one file or folder."""

    path: str


def _rebuilt(kind: Any, value: Any) -> Any:
    """`value`, as JSON has it, as the type `kind` of a field."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if value is None or kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        fitting = [each for each in arguments if _fits(each, value)]
        return _rebuilt(fitting[0], value) if fitting else value
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        hints = typing.get_type_hints(kind)
        return typing.cast(Any, kind)(**{name: _rebuilt(hints[name], each) for name, each in value.items()})
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if origin is tuple and isinstance(value, list):
        inner = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return tuple(_rebuilt(each, item) for each, item in zip(inner, value, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {name: _rebuilt(arguments[1], each) for name, each in value.items()}
    return value


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value of JSON can be meant by one type of a union."""
    origin = typing.get_origin(kind) or kind
    if origin is tuple:
        return isinstance(value, list)
    if dataclasses.is_dataclass(origin) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return isinstance(value, Mapping)
    if origin is typing.Literal:
        return value in typing.get_args(kind)
    return isinstance(origin, type) and isinstance(value, origin)
