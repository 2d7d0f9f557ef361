"""Code in a SavedModel's graph is found before the graph is loaded."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tfopt.loading import model_file
from tfopt.loading.config_safety import unsafe

if TYPE_CHECKING:
    from tensorflow.core.framework import node_def_pb2

# Ops with which a graph could read or write files, reach Python or the network when it runs: all ops whose names say so, except
# those of variables, tensor arrays and checkpoints.
_REACHING_OPS = re.compile(
    "Read|Write|File|Py(Func|Call)|Print|Save|Summary|Debug|Dataset|Iterator|Sql|Send|Recv|Rpc|Queue|Restore|Load|Dump|Merge|Plugin"
)
_HARMLESS_OPS = {"ReadVariableOp", "TensorArrayReadV3", "TensorArrayWriteV3", "Merge", "RefMerge", "DisableCopyOnRead"}
_CHECKPOINT_OPS = {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"}


def require_safe(folder: pathlib.Path) -> None:
    """Raises an error if the graph of a SavedModel could reach files, Python or the network when it runs.

    Example: `require_safe(pathlib.Path("saved_model"))`

    Args:
        folder: with a `saved_model.pb`.

    Raises:
        UnsafeModelError: an op reaches further than the model's own tensors and variables.
        LoadError: the folder is damaged.
    """
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError is not part of its public interface
        raise model_file.refusal(folder, f"a SavedModel that cannot be parsed ({error})", "Export the model again.") from error
    for graph in saved_model.meta_graphs:
        functions = graph.graph_def.library.function
        _require_safe_ops(graph.graph_def.node, folder, is_checkpoint=False)
        for function in functions:
            # Checkpoints are written and read by functions that take a file name. Only a function that takes one as well could
            # call them, and a model with such an input is refused later.
            takes_text = any(argument.type == types_pb2.DT_STRING for argument in function.signature.input_arg)
            _require_safe_ops(function.node_def, folder, is_checkpoint=takes_text)
        savers = {
            function.signature.name for function in functions if any(node.op in _CHECKPOINT_OPS for node in function.node_def)
        }
        for function in functions:
            for node in function.node_def:
                if any(value.func.name in savers for value in node.attr.values()):
                    raise unsafe(folder, node.name, "writes or reads checkpoints while it computes")


def _require_safe_ops(nodes: Iterable[node_def_pb2.NodeDef], folder: pathlib.Path, *, is_checkpoint: bool) -> None:
    for node in nodes:
        harmless = node.op in _HARMLESS_OPS or (is_checkpoint and node.op in _CHECKPOINT_OPS)
        if not harmless and _REACHING_OPS.search(node.op):
            raise unsafe(folder, node.name, f"runs the op `{node.op}`, which reaches files, Python or the network")
