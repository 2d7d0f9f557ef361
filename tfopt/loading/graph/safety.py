"""Code in a SavedModel's graph is found before the graph is loaded."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tfopt import sizes
from tfopt.errors import UnsafeModelError
from tfopt.loading import model_file
from tfopt.loading.config_safety import unsafe_file
from tfopt.loading.graph.allowed import ALLOWED
from tfopt.loading.graph.refused import CHECKPOINTS, REFUSED, TEXT_FILES

if TYPE_CHECKING:
    from tensorflow.core.framework import node_def_pb2
    from tensorflow.core.protobuf import meta_graph_pb2

_ASSETS = "saved_model_assets"  # the collection of assets of old files
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")  # their inputs are the arguments of the function
_TEXT_BYTES = 24  # of a string in a tensor, without its characters


@dataclasses.dataclass(frozen=True)
class _Place:
    """A node, and the name of the function that it is in; "" for the graph itself."""

    owner: str
    node: node_def_pb2.NodeDef


class _Graph:
    """One graph of a SavedModel with its functions, and who calls whom."""

    def __init__(self, meta: meta_graph_pb2.MetaGraphDef, *, has_objects: bool) -> None:
        self.meta, self.has_objects = meta, has_objects
        self.functions = {function.signature.name: function for function in meta.graph_def.library.function}
        self.places = [_Place("", node) for node in meta.graph_def.node]
        self.places += [_Place(name, node) for name, function in self.functions.items() for node in function.node_def]
        self.by_name = {(place.owner, place.node.name): place.node for place in self.places}
        self.callers: dict[str, list[_Place]] = {name: [] for name in self.functions}
        for place in self.places:
            for name in _called(place.node):
                self.callers.setdefault(name, []).append(place)
        self.roots = set(meta.object_graph_def.concrete_functions)
        self.roots |= {gradient.gradient_func for gradient in meta.graph_def.library.gradient}

    def runs(self, owner: str) -> bool:
        """Whether a loaded model can run a function: TensorFlow 2 calls the functions of the objects, and not the graph itself."""
        if not owner:
            return not self.has_objects
        return not self.has_objects or owner in self.roots or any(place.owner for place in self.callers[owner])

    def is_asset(self, owner: str, tensor: str, seen: frozenset[tuple[str, int]] = frozenset()) -> bool:
        """Whether a tensor can only be the path of an asset: in the graph by its name, in a function by all of its callers."""
        name = tensor.split(":")[0]
        if not owner:
            node = self.by_name.get(("", name))
            if node is not None and node.op == "Identity":
                return self.is_asset("", node.input[0], seen)
            return name in {asset.tensor_info.name.split(":")[0] for asset in _assets(self.meta)}
        function = self.functions[owner]
        arguments = [argument.name for argument in function.signature.input_arg]
        if ":" in tensor or name not in arguments:
            return False
        index = arguments.index(name)
        if (owner, index) in seen:
            return True
        concrete = self.meta.object_graph_def.concrete_functions
        if owner in concrete:
            bound = concrete[owner].bound_inputs
            first = len(arguments) - len(bound)
            nodes = self.meta.object_graph_def.nodes
            if index < first or nodes[bound[index - first]].WhichOneof("kind") != "asset":
                return False
        for place in self.callers[owner]:
            node = place.node
            if node.op not in (*_CALLS, owner) or index >= len(node.input):
                return False
            if (place.owner or not self.has_objects) and not self.is_asset(place.owner, node.input[index], seen | {(owner, index)}):
                return False
        return True


def require_safe(folder: pathlib.Path, *, allow_large: bool = False) -> None:
    """Raises an error if the graph of a SavedModel could do more than compute with its arguments and its variables.

    Every operation must be one of `allowed.ALLOWED`, in the graph and in all of its functions. A table may read a file of the
    model's own folder `assets`. Checkpoints may be read and written by functions that the loaded model cannot call.

    Example: `require_safe(pathlib.Path("saved_model"))`

    Args:
        folder: with a `saved_model.pb`.
        allow_large: whether constants and variables may take any memory.

    Raises:
        UnsafeModelError: an operation reaches further than the model's own tensors and variables.
        LoadError: the folder is damaged, or a constant or a variable takes more memory than such a file should.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError is not part of its public interface
        raise model_file.refusal(folder, f"a SavedModel that cannot be parsed ({error})", "Export the model again.") from error
    # As `tf.saved_model.load` tells them apart.
    has_objects = len(saved_model.meta_graphs) == 1 and saved_model.meta_graphs[0].HasField("object_graph_def")
    for meta in saved_model.meta_graphs:
        try:
            graph = _Graph(meta, has_objects=has_objects)
            _require_own_assets(meta, folder)
            for place in graph.places:
                _require_allowed(graph, place, folder)
        except (IndexError, KeyError, ValueError, RecursionError) as error:
            received = f"a damaged SavedModel ({type(error).__name__}: {error})"
            raise model_file.refusal(folder, received, "Export the model again.") from error
        _require_room(graph, folder, allow_large=allow_large)


def _require_allowed(graph: _Graph, place: _Place, folder: pathlib.Path) -> None:
    node = place.node
    if node.op in TEXT_FILES:
        if graph.is_asset(place.owner, node.input[1]):
            return
        raise _unsafe(folder, node, "reads a file that is not one of the model's own assets")
    if node.op in CHECKPOINTS and not graph.runs(place.owner):
        return
    if node.op in REFUSED:
        raise _unsafe(folder, node, REFUSED[node.op])
    if node.op not in ALLOWED and node.op not in graph.functions:
        raise _unsafe(folder, node, "is not known to do nothing but compute")
    for tensor in _constants(node):
        if _type_name(tensor.dtype) in ("resource", "variant"):
            raise _unsafe(folder, node, "holds the handle of an object, which may be another model's")


def _require_own_assets(meta: meta_graph_pb2.MetaGraphDef, folder: pathlib.Path) -> None:
    own = folder.resolve() / "assets"
    for asset in _assets(meta):
        if not (own / asset.filename).resolve().is_relative_to(own):
            raise unsafe_file(
                folder, f"whose asset {asset.filename!r} is a file outside of its folder `assets`: copy the file there"
            )


def _require_room(graph: _Graph, folder: pathlib.Path, *, allow_large: bool) -> None:
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    constants = sum(_bytes(tensor.tensor_shape, tensor.dtype) for place in graph.places for tensor in _constants(place.node))
    sizes.require_room(constants, stored, "the constants of the graph", allow_large=allow_large, path=folder)
    variables = [node.variable for node in graph.meta.object_graph_def.nodes if node.WhichOneof("kind") == "variable"]
    needed = sum(_bytes(variable.shape, variable.dtype) for variable in variables)
    sizes.require_room(needed, stored, "the variables", allow_large=allow_large, path=folder)


def _called(node: node_def_pb2.NodeDef) -> Iterator[str]:
    """Names of the functions that a node runs, by its own name or by its attributes."""
    yield node.op
    for value in node.attr.values():
        for function in (value.func, *value.list.func):
            if function.name:
                yield function.name


def _constants(node: node_def_pb2.NodeDef) -> Iterator[Any]:
    for value in node.attr.values():
        if value.WhichOneof("value") == "tensor":
            yield value.tensor
        yield from value.list.tensor


def _assets(meta: meta_graph_pb2.MetaGraphDef) -> list[Any]:
    from tensorflow.core.protobuf import meta_graph_pb2

    if meta.asset_file_def or _ASSETS not in meta.collection_def:
        return list(meta.asset_file_def)
    assets = []
    for packed in meta.collection_def[_ASSETS].any_list.value:
        assets.append(meta_graph_pb2.AssetFileDef())
        packed.Unpack(assets[-1])
    return assets


def _type_name(number: int) -> str:
    import tensorflow as tf

    try:
        return str(tf.dtypes.as_dtype(number).name)
    except TypeError as error:
        raise ValueError(f"a tensor of the unknown type {number}") from error


def _bytes(shape: Any, number: int) -> int:
    import tensorflow as tf

    name = _type_name(number)
    size = _TEXT_BYTES if name in ("string", "resource", "variant") else tf.dtypes.as_dtype(number).size
    return sizes.array_room((max(0, dimension.size) for dimension in shape.dim), size)


def _unsafe(folder: pathlib.Path, node: node_def_pb2.NodeDef, why: str) -> UnsafeModelError:
    return unsafe_file(folder, f"whose graph runs the operation `{node.op}` (node {node.name!r}), which {why}")
