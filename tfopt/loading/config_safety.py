"""Code in a model's configuration is found before anything of the file is loaded."""

from __future__ import annotations

import builtins
import json
import pathlib
from collections.abc import Collection
from typing import Any

from tfopt.errors import LoadError, UnsafeModelError
from tfopt.loading import model_file
from tfopt.loading.model_file import ModelFile

# Modules that Keras writes for its own objects. A class of any other module must be given by the caller.
_KERAS_MODULES = {"keras", "tf_keras", "builtins"}
# The only Keras modules whose *functions* belong in a model: `keras.utils`, for example, downloads files.
_FUNCTION_MODULES = {"builtins", "activations", "initializers", "losses", "metrics", "ops", "constraints", "regularizers"}
# Python's own functions, as `exec`, would pass for Keras functions of the module "builtins".
_PYTHON_FUNCTIONS = set(dir(builtins))
# Layers that run what the file, or another file that it names, brings along.
_CODE_LAYERS = {
    "ClassMethod": "calls whatever method the file names",
    "InstanceMethod": "calls whatever method the file names",
    "TFSMLayer": "runs the graph of another file",
    "TorchModuleWrapper": "runs pickled Python",
}
# What a Keras 2 `InstanceProperty` layer may read of a tensor, and which ops a `TensorFlowOpLayer` of TF 1.13 to 2.3 may run.
_PROPERTIES = {"T", "dense_shape", "dtype", "flat_values", "imag", "indices", "ndim", "real", "row_splits", "shape", "values"}
_COMPUTING_OPS = """
Abs Acos Acosh Add AddN AddV2 All Any ArgMax ArgMin Asin Asinh Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul BatchMatMulV2
BatchToSpaceND BiasAdd BroadcastTo Cast Ceil ClipByValue Concat ConcatV2 Const Conv2D Conv2DBackpropInput Conv3D Cos Cosh Cumprod
Cumsum DepthToSpace DepthwiseConv2dNative Div DivNoNan Einsum Elu Equal Erf Erfc Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod
FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IsFinite IsInf IsNan
L2Loss LRN LeakyRelu Less LessEqual LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool MaxPool3D
Maximum Mean Min Minimum MirrorPad Mod Mul MulNoNan Neg NotEqual OneHot OnesLike Pack Pad PadV2 Pow Prod Range Rank Real RealDiv
Reciprocal Relu Relu6 Reshape ResizeBicubic ResizeBilinear ResizeNearestNeighbor Reverse ReverseV2 Rint Round Rsqrt Select SelectV2
Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square
SquaredDifference Squeeze StopGradient StridedSlice Sub Sum Tan Tanh Tile TopK TopKV2 Transpose TruncateDiv TruncateMod Unpack
Where Xdivy Xlogy ZerosLike
"""
# What a Keras 2 `TFOpLambda` layer may call: functions of these modules of TensorFlow, and these functions at its top level.
_COMPUTING_MODULES = {"__operators__", "bitwise", "dtypes", "linalg", "math", "nn", "random", "signal"}
_READING_FUNCTIONS = {"fixed_unigram_candidate_sampler"}  # of these modules, those that read files
_COMPUTING_FUNCTIONS = """
abs add add_n argmax argmin argsort boolean_mask broadcast_to cast ceil clip_by_norm clip_by_value concat constant
convert_to_tensor cos cumsum depth_to_space div divide einsum ensure_shape equal exp expand_dims eye fill floor floordiv gather
gather_nd greater greater_equal identity less less_equal linspace log logical_and logical_not logical_or matmul maximum meshgrid
minimum multiply negative norm not_equal one_hot ones ones_like pad pow range rank realdiv reduce_all reduce_any
reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat reshape reverse roll round rsqrt scalar_mul
sequence_mask shape sigmoid sign sin size slice sort space_to_depth split sqrt square squeeze stack stop_gradient strided_slice
subtract tan tanh tensordot tile transpose truediv truncatediv unstack where zeros zeros_like
"""


def require_safe(found: ModelFile, *, custom_objects: Collection[str] = ()) -> None:
    """Raises an error if loading the file would run code that came with it, or import a module that it names.

    Example: `require_safe(model_file.read("model.h5"), custom_objects={"Swish2"})`

    Args:
        found: a file with a configuration.
        custom_objects: names of the classes and functions that the caller gave.

    Raises:
        UnsafeModelError: a layer holds Python bytecode, or asks for a function that no model needs.
        LoadError: a layer needs a class or function that the caller did not give, or the configuration is damaged.
    """
    try:
        _require_safe(found.config, found.path, set(custom_objects), layer="")
    except (TypeError, LookupError, AttributeError) as error:
        raise model_file.refusal(found.path, f"a damaged configuration ({error})", "Save the model again.") from error
    except RecursionError as error:
        raise model_file.refusal(found.path, "a configuration that is nested too deeply", "Save the model again.") from error


def _require_safe(node: Any, path: pathlib.Path, given: set[str], layer: str) -> None:
    """`require_safe` for a part of the configuration that belongs to `layer`."""
    if isinstance(node, list):
        for item in node:
            _require_safe(item, path, given, layer)
    if not isinstance(node, dict):
        return
    kind, config = node.get("class_name"), node.get("config")
    if isinstance(config, dict) and isinstance(config.get("name"), str):
        layer = config["name"]
    if kind == "__lambda__":
        raise unsafe(path, layer, "holds Python bytecode")
    if kind == "Lambda" and isinstance(config, dict) and not _is_given(config.get("function"), given):
        if isinstance(config.get("function"), str) and config.get("function_type") != "lambda":
            raise _missing(path, layer, config["function"])
        raise unsafe(path, layer, "holds Python bytecode")
    if kind in _CODE_LAYERS and not _is_given(kind, given):
        raise unsafe(path, layer, f"is a {kind} layer, which {_CODE_LAYERS[kind]}")
    if kind == "InstanceProperty" and _of(config, "attr_name") not in _PROPERTIES:
        raise unsafe(path, layer, f"is an InstanceProperty layer, which reads {_of(config, 'attr_name')!r}")
    if kind == "TensorFlowOpLayer" and _op(config) not in _COMPUTING_OPS.split():
        raise unsafe(path, layer, f"is a TensorFlowOpLayer layer with the op {_op(config)!r}, which may do more than compute")
    if kind in ("TFOpLambda", "SlicingOpLambda") and isinstance(config, dict):
        name = str(config.get("function", "__operators__"))
        if not _computes(name):
            raise unsafe(path, layer, f"calls `tf.{name}`, which can reach files or Python")
    if _of(config, "vocabulary") is not None and not _is_given(kind, given):
        raise unsafe(path, layer, f"reads its vocabulary from the file {_of(config, 'vocabulary')!r} of this machine")
    module = node.get("module")
    if isinstance(kind, str) and isinstance(module, str):
        _require_known(node, path, given, layer)
    for item in node.values():
        _require_safe(item, path, given, layer)


def _require_known(node: dict[str, Any], path: pathlib.Path, given: set[str], layer: str) -> None:
    is_function = node["class_name"] == "function"
    name = node["config"] if is_function else node["class_name"]
    # Keras looks up this name among the given objects before it imports anything.
    if _is_given(name if is_function else node.get("registered_name") or name, given):
        return
    root, _, rest = node["module"].partition(".")
    if root not in _KERAS_MODULES:
        raise _missing(path, layer, f"{node['module']}.{name}")
    if is_function and (not {root, *rest.split(".")} & _FUNCTION_MODULES or name in _PYTHON_FUNCTIONS):
        raise unsafe(path, layer, f"calls `{node['module']}.{name}`, which no model needs")


def _computes(function: str) -> bool:
    """Whether a TensorFlow function, by its exported name, only computes."""
    parts = function.removeprefix("compat.v1.").removeprefix("compat.v2.").split(".")
    if parts[-1] in _READING_FUNCTIONS:
        return False
    return parts[0] in _COMPUTING_MODULES if len(parts) > 1 else parts[0] in _COMPUTING_FUNCTIONS.split()


def _of(config: Any, key: str) -> str | None:
    value = config.get(key) if isinstance(config, dict) else None
    return value if isinstance(value, str) else None


def _op(config: Any) -> str | None:
    """The op of a `TensorFlowOpLayer`, whose node is in the file as a dict or, since TF 2.2, as JSON text."""
    node = config.get("node_def") if isinstance(config, dict) else None
    try:
        node = json.loads(node) if isinstance(node, str) else node
    except ValueError:
        return None
    return _of(node, "op")


def _is_given(name: Any, given: set[str]) -> bool:
    return isinstance(name, str) and (name in given or name.rpartition(">")[2] in given)


def unsafe(path: pathlib.Path, layer: str, what: str) -> UnsafeModelError:
    """The error for a file with code in a layer; `what` is the predicate of a sentence about the layer."""
    return unsafe_file(path, f"whose layer {layer!r} {what}")


def unsafe_file(path: pathlib.Path, what: str) -> UnsafeModelError:
    """The error for a file that could do more than compute; `what` is a relative clause about the file."""
    return UnsafeModelError(
        f"A model file must do nothing but compute. Received: {path}, {what}; nothing of the file was run. If you trust the writer "
        "of the file, load it with --allow-unsafe (Python: allow_unsafe=True): the file may then do whatever you may do on this "
        "machine, such as read your files, use the network, and run Python."
    )


def _missing(path: pathlib.Path, layer: str, name: str) -> LoadError:
    return LoadError(
        f"Every class and function in the model must be known. Received: {path}, whose layer {layer!r} needs {name!r}. "
        "Give it with --custom-objects FILE.py (Python: custom_objects={...})."
    )
