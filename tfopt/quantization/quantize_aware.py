"""`quantize_aware()`: a Keras 3 model that trains as the int8 file will compute; `strip_quantization()`: back to a plain one."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import keras

from tfopt.errors import ArgumentError
from tfopt.keras_model.copy import copy_and_configuration, custom_objects, from_configuration
from tfopt.keras_model.describe import describe
from tfopt.keras_model.functional_graph import Graph, is_functional
from tfopt.keras_model.requirements import require_built, require_float_weights
from tfopt.keras_model.select import left_out_layers
from tfopt.keras_model.walk import walk_layers, walk_pairs
from tfopt.progress import progress_bar
from tfopt.quantization import weights
from tfopt.quantization.fake_quantize import RANGES, FakeQuantize
from tfopt.quantization.frozen import FrozenBatchNormalization, with_class
from tfopt.quantization.placement import Options, Placement
from tfopt.quantization.quantized_model import QuantizedModel, Recipe
from tfopt.quantization.wrapper import QuantizeWrapper

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.functional_graph import Call
    from tfopt.keras_model.select import Selectors
    from tfopt.quantization.fake_quantize import Range, RangeRule
    from tfopt.quantization.inside.simulation import Tensors


def quantize_aware(
    model: keras.Model,
    *,
    include: Selectors = None,
    exclude: Selectors = None,
    weight_bits: Literal[4, 8] = 8,
    activation_bits: Literal[8] = 8,
    ranges: RangeRule = "moving_average",
    limits: Mapping[str, Range] | None = None,
    freeze_batch_normalization: bool = False,
    verbose: bool = True,
) -> keras.Model:
    """A new model that computes as the int8 file will, and trains as any other; the caller's model is untouched.

    Weights are rounded symmetrically, per output channel, in every call. The outputs of the operations in the file are rounded to
    256 values. Gradients pass as if nothing were rounded.

    Example:

    ```python
    qat = tfopt.quantize_aware(model)
    qat.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    qat.fit(x, y, epochs=2)
    tfopt.convert(qat, validation_data=(x_test, y_test)).save("model.tflite")
    ```

    Args:
        model: a built Keras 3 model: Functional, Sequential or nested. A subclassed model becomes one layer of the result; its
            weights are rounded, and its activations where its layers call each other.
        include, exclude: None (default), or one or a list of: a glob of a layer's name or path (`encoder/dense_*`), a layer class,
            a function of a layer that returns a bool. Layers that are left out stay float in training.
        weight_bits: 8 (default), or 4 for layers whose 4-bit weights TFLite has kernels for: Conv1D, Conv2D, DepthwiseConv,
            SeparableConv and Dense.
        activation_bits: 8.
        ranges: "moving_average" (default) of the extremes of the batches, or "learned" by gradient (LSQ+): see `FakeQuantize`.
        limits: None (default), or a mapping of a glob of a tensor's name -> (low, high): ranges that stay. Values outside of them
            are cut off. A few activations of a transformer are 10 to 100 times as large as the others, which then share few
            integers. `quantization_report` shows the names of the tensors; leave out the names of models around them:
            {"*_inner/before_activation": (-5.0, 5.0)}.
        freeze_batch_normalization: whether BatchNormalization keeps its statistics and uses them in training, by default False. Its
            scale and shift train in any case.
        verbose: whether a progress bar is drawn on a terminal or in a notebook.

    Returns:
        A new model with the weights, inputs, outputs and layer names of `model`, and `FakeQuantize` layers in between; not
        compiled.

    Raises:
        ArgumentError: an argument cannot be used; a limit matches no tensor; a layer has no kernel for 4 bits.

    Source: Jacob et al., arXiv:1712.05877; Krishnamoorthi, arXiv:1806.08342.
    """
    check_plain(model)
    _check(weight_bits, activation_bits, ranges)
    excluded = left_out_layers(model, include, exclude)
    if weight_bits == 4:
        _require_four_bits(model, excluded)
    options: Options = {"weight_bits": weight_bits, "activation_bits": activation_bits, "ranges": ranges}
    limits = _check_limits(limits)
    with progress_bar(verbose) as progress:
        progress({"stage": "place quantizers"})
        copy, config = copy_and_configuration(model)
        left_out = {id(other) for one, other in walk_pairs(model, copy) if id(one) in excluded}
        numbers = tuple(number for number, layer in enumerate(walk_layers(copy)) if id(layer) in left_out)
        placement = Placement(options, left_out, freeze_batch_normalization, limits)
        made, sources = placement.transform(copy)
    if config is not None and isinstance(made, QuantizedModel):
        kept = {**options, "freeze_batch_normalization": freeze_batch_normalization}
        made.recipe = Recipe(config, kept, numbers, placement.limited, sources, custom_objects(model))
    for pattern in limits:
        if not fnmatch.filter(placement.names, pattern):
            close = difflib.get_close_matches(pattern, placement.names, cutoff=0.4)
            raise ArgumentError(
                f"`limits` must be for tensors that are rounded. Received: {pattern!r}, which matches no tensor. "
                f"{'Closest' if close else 'There are'}: {', '.join(close or placement.names[:20])}."
            )
    return made


def strip_quantization(model: keras.Model) -> keras.Model:
    """A plain Keras model whose weights lie on the int8 grid, with the layers and names of the model that `quantize_aware` took.

    Example:

    ```python
    plain = tfopt.strip_quantization(qat)
    ```

    Args:
        model: a model that `quantize_aware` returned, trained or not; it is untouched.

    Returns:
        A new model, not compiled. If `quantize_aware` was given a subclassed model, the result is of that class.

    Raises:
        ArgumentError: the model is not quantization-aware.
    """
    require_quantization_aware(model)
    if isinstance(model, QuantizedModel) and model.recipe is not None:
        return _plain(model, model.recipe)
    graph = Graph(model)

    def make(layer: keras.Operation) -> keras.Operation | None:
        if isinstance(layer, QuantizeWrapper):
            layer.bake()
            return layer.layer
        if isinstance(layer, FrozenBatchNormalization):
            return with_class(keras.layers.BatchNormalization, layer)
        origin = graph.origins[id(layer)]
        return strip_quantization(origin) if is_functional(layer) and is_quantization_aware(origin) else None

    def call(each: Call, layer: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensors:
        return args[0] if isinstance(layer, FakeQuantize) else layer(*args, **kwargs)

    return graph.replay(make, call=call)


def _plain(model: keras.Model, recipe: Recipe) -> keras.Model:
    """The model of a recipe with the weights of a quantization-aware one, on their grid."""
    plain = from_configuration(recipe.model, recipe.objects, safe=False)
    rounded: dict[int, tf.Tensor] = {}
    for layer in walk_layers(model):
        if isinstance(layer, QuantizeWrapper):
            rounded.update((id(variable), value) for variable, value in layer.rounded())
    for weight, source in zip(plain.weights, recipe.sources, strict=True):
        if source is not None:
            weight.assign(rounded.get(id(source), source))
    return plain


def is_quantization_aware(model: keras.Model) -> bool:
    """Whether `quantize_aware` made `model`."""
    return any(isinstance(layer, QuantizeWrapper | FakeQuantize) for layer in walk_layers(model))


def require_quantization_aware(model: keras.Model) -> None:
    """Raises `ArgumentError` unless `quantize_aware` made `model`."""
    require_built(model)
    if not is_quantization_aware(model):
        raise ArgumentError(
            f"The model must be one that tfopt.quantize_aware returned. Received: {describe(model)}, which has no "
            "FakeQuantize layer."
        )


def check_plain(model: keras.Model) -> None:
    """Raises `ArgumentError` unless `model` is a built Keras 3 model that is not quantization-aware."""
    require_built(model)
    if not isinstance(model, keras.Model):
        raise ArgumentError(
            f"The model must be a Keras 3 model. Received: {describe(model)}, a {type(model).__module__.partition('.')[0]} "
            "model. tfopt.legacy.quantize_aware takes models of Keras 2."
        )
    require_float_weights(model)
    if is_quantization_aware(model):
        raise ArgumentError(
            f"The model must be a float model. Received: {describe(model)}, which is quantization-aware already. "
            "tfopt.strip_quantization(model) makes it plain."
        )


def _check(weight_bits: object, activation_bits: object, ranges: object) -> None:
    if weight_bits not in (4, 8):
        raise ArgumentError(f"`weight_bits` must be 8 or 4. Received: weight_bits={weight_bits!r}.")
    if activation_bits != 8:
        raise ArgumentError(
            f"`activation_bits` must be 8, as TFLite has no other width. Received: activation_bits={activation_bits!r}."
        )
    if ranges not in RANGES:
        raise ArgumentError(f"`ranges` must be one of {', '.join(RANGES)}. Received: ranges={ranges!r}.")


def _check_limits(limits: Mapping[str, Range] | None) -> dict[str, Range]:
    limits = {} if limits is None else limits
    usable = isinstance(limits, Mapping) and all(
        isinstance(name, str)
        and isinstance(ends, list | tuple)
        and len(ends) == 2
        and ends[0] <= 0 <= ends[1]
        and ends[0] < ends[1]
        for name, ends in limits.items()
    )
    if not usable:
        raise ArgumentError(
            "`limits` must be a mapping of name -> (low, high) with low <= 0 <= high, as int8 has to hold 0 exactly. "
            f"Received: limits={limits!r}."
        )
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}


def _require_four_bits(model: keras.Model, excluded: set[int]) -> None:
    without = [
        f"{weight.layer_name} ({type(weight.layers[-1]).__name__})"
        for weight, grid in weights.grids(model)
        if isinstance(grid, weights.Grid) and not grid.has_four_bits and excluded.isdisjoint(map(id, weight.layers))
    ]
    if without:
        raise ArgumentError(
            "`weight_bits=4` needs layers that TFLite computes with 4-bit weights: Conv1D, Conv2D, DepthwiseConv, SeparableConv "
            f"and Dense. Received: {', '.join(list(dict.fromkeys(without))[:5])}. Leave the others out with `exclude`; they get 8 "
            "bits in the file."
        )
