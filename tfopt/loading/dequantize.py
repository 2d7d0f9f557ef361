"""A model after Keras' own `model.quantize(...)`, made again with the float weights that it computes with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.errors import ArgumentError
from tfopt.keras_model.copy import configuration, custom_objects, from_configuration
from tfopt.keras_model.describe import describe
from tfopt.keras_model.patch import replaced_attributes
from tfopt.keras_model.requirements import quantized_by_keras
from tfopt.keras_model.walk import inner_layers, walk_layers, walk_pairs

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel

_ROWS = 1024  # unit vectors that a layer answers at once


def dequantized(model: AnyModel) -> tuple[AnyModel, str | None]:
    """The model in float, and a note about what was done; the model itself and None if Keras has quantized none of its layers.

    A layer that was quantized is linear but for its bias and activation, so that its answers to unit vectors are its dequantized
    weights. Keras stores weights in several packed forms, none of which this needs to know.

    Example: `model, note = dequantized(keras.models.load_model("int8.keras"))`

    Args:
        model: a Keras 3 model, after `model.quantize("int8")`, "int4", "gptq", "awq", or "float8".

    Raises:
        ArgumentError: the model cannot be made again from its configuration, or a layer of a class of its own is quantized.
    """
    quantized = quantized_by_keras(model)
    if not quantized:
        return model, None
    try:
        # How a layer was quantized may hold the data for it and the model itself, which Keras cannot save.
        configured = [layer for layer in walk_layers(model) if getattr(layer, "quantization_config", None) is not None]
        with replaced_attributes({layer: {"quantization_config": None} for layer in configured}):
            config = configuration(model)
        made = from_configuration(_float_policies(config), custom_objects(model), safe=False)
        for one, other in walk_pairs(model, made):
            if one in quantized:
                _fill(one, other)
            else:
                for source, target in zip(_own(one), _own(other), strict=True):
                    target.assign(source)
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise ArgumentError(
            "A model that Keras has quantized must be one that can be made again from its configuration. Received: "
            f"{describe(model)}, with {describe(quantized[0])}: {str(error).strip().splitlines()[0]}. Convert the model as it was "
            "before `model.quantize(...)`."
        ) from error
    modes = ", ".join(sorted({str(layer.quantization_mode) for layer in quantized}))
    count = f"{len(quantized)} layer" + ("" if len(quantized) == 1 else "s")
    verb = "computes" if len(quantized) == 1 else "compute"
    return made, f"dequantized: {count} that Keras had quantized ({modes}) {verb} with the float weights of the same values"


def _float_policies(node: Any) -> Any:
    """A configuration with the float policies that its quantized ones were made of."""
    if isinstance(node, list | tuple):
        return type(node)(_float_policies(item) for item in node)
    if not isinstance(node, dict):
        return node
    policy = node.get("config")
    if isinstance(policy, dict) and "source_name" in policy and str(node.get("class_name")).endswith("DTypePolicy"):
        return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": policy["source_name"]}, "registered_name": None}
    # The answers of a layer hold what LoRA adds.
    left = dict.fromkeys({"quantization_config", "lora_rank", "lora_alpha"} & set(node) if "quantization_config" in node else ())
    return {key: _float_policies(value) for key, value in node.items() if key not in left}


def _own(layer: AnyLayer) -> list[Any]:
    """The variables of a layer itself, without those of the layers that it holds."""
    inner = {id(variable) for child in inner_layers(layer) for variable in child.weights}
    return [variable for variable in layer.weights if id(variable) not in inner]


def _fill(one: AnyLayer, other: AnyLayer) -> None:
    """Gives a float layer the weights that a quantized one computes with."""
    import keras

    if isinstance(one, keras.layers.Embedding):
        other.embeddings.assign(np.concatenate([np.asarray(one(ids)) for ids in _parts(np.arange(one.input_dim))]))
        if hasattr(other, "reverse_embeddings"):  # a ReversibleEmbedding that is not tied
            with replaced_attributes({one: {"logit_soft_cap": None}}):
                rows = [np.asarray(one(each, reverse=True)) for each in _parts(np.eye(one.output_dim, dtype="float32"))]
            other.reverse_embeddings.assign(np.concatenate(rows))
        return
    if not isinstance(one, keras.layers.Dense | keras.layers.EinsumDense):
        raise TypeError(f"{describe(one)} is quantized in a way of its own")
    if one.quantization_mode == "float8":  # its weights are floats, and are rounded when they are used
        kernel = np.asarray(one.kernel)
    else:
        with replaced_attributes({one: {"activation": None}}):
            shape = tuple(other.kernel.shape)
            kernel = _kernel(one, shape) if isinstance(one, keras.layers.EinsumDense) else _answers(one, np.eye(shape[0]))
    other.kernel.assign(kernel)
    if one.bias is not None:
        other.bias.assign(one.bias)


def _kernel(layer: AnyLayer, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """The kernel of an EinsumDense from its answers to unit vectors along the axes that it sums over."""
    inputs, kernel, output = layer.equation.replace("->", ",").replace(" ", "").split(",")
    sizes = dict(zip(kernel, shape, strict=True))
    batch = [axis for axis in inputs if axis not in kernel]
    summed = [axis for axis in inputs if axis in kernel and axis not in output]
    kept = [axis for axis in inputs if axis in kernel and axis in output]
    count = int(np.prod([sizes[axis] for axis in summed]))
    units = np.eye(count).reshape(count, *(sizes[axis] for axis in summed), *([1] * len(kept)))
    units = np.broadcast_to(units, (*units.shape[: 1 + len(summed)], *(sizes[axis] for axis in kept)))
    units = units.reshape(count, *([1] * (len(batch) - 1)), *units.shape[1:])
    order = [*batch, *summed, *kept]
    answers = _answers(layer, units.transpose([order.index(axis) for axis in inputs]), inputs.index(batch[0]))
    own = [axis for axis in output if axis not in batch]
    answers = answers.transpose([output.index(axis) for axis in [*batch, *own]])
    answers = answers.reshape(*(sizes[axis] for axis in summed), *(sizes[axis] for axis in own))
    return answers.transpose([[*summed, *own].index(axis) for axis in kernel])


def _answers(layer: AnyLayer, units: npt.NDArray[Any], axis: int = 0) -> npt.NDArray[np.float32]:
    """What a layer without activation answers, without its bias."""
    found = [np.asarray(layer(part)) for part in _parts(units.astype("float32"), axis)]
    answers = np.concatenate(found, axis)
    return answers if layer.bias is None else answers - np.asarray(layer.bias)


def _parts(rows: npt.NDArray[Any], axis: int = 0) -> Iterator[npt.NDArray[Any]]:
    for start in range(0, rows.shape[axis], _ROWS):
        yield rows[(slice(None),) * axis + (slice(start, start + _ROWS),)]
