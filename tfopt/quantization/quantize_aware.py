"""`quantize_aware()`: a Keras 3 model that trains as the int8 file will compute; `strip_quantization()`: back to a plain one."""

import difflib
import fnmatch

import keras

from tfopt.errors import ArgumentError
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.describe import describe
from tfopt.keras_model.functional_graph import Graph, is_functional
from tfopt.keras_model.requirements import require_built
from tfopt.keras_model.select import left_out_layers
from tfopt.keras_model.walk import walk_layers
from tfopt.quantization import weights
from tfopt.quantization.fake_quantize import RANGES, FakeQuantize
from tfopt.quantization.frozen import FrozenBatchNormalization, with_class
from tfopt.quantization.placement import Placement
from tfopt.quantization.wrapper import QuantizeWrapper


def quantize_aware(
    model,
    *,
    include=None,
    exclude=None,
    weight_bits=8,
    activation_bits=8,
    ranges="moving_average",
    limits=None,
    freeze_batch_normalization=False,
):
    """A new model that computes as the int8 file will, and trains as any other; the caller's model is untouched.

    Weights are rounded symmetrically, per output channel, in every call; what leaves an op of the file is rounded to 256 values.
    Gradients pass as if nothing were rounded.

    Example:

    ```python
    qat = tfopt.quantize_aware(model)
    qat.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    qat.fit(x, y, epochs=2)
    tfopt.convert(qat, validation_data=(x_test, y_test)).save("model.tflite")
    ```

    Args:
        model: built Keras 3 model: Functional, Sequential, nested; of a subclassed one, which becomes one layer of the result, the
            weights are rounded, and the activations where its layers call each other.
        include, exclude: None, or one or a list of: a glob of a layer's name or path (`encoder/dense_*`), a layer class, a
            function of a layer that returns a bool. What is left out stays float in training.
        weight_bits: 8; or 4 where TFLite has kernels for it: Conv1D, Conv2D, DepthwiseConv, SeparableConv and Dense.
        activation_bits: 8.
        ranges: "moving_average" of the batches' extremes, or "learned" by gradient (LSQ+): see `FakeQuantize`.
        limits: None or dict of glob of a tensor's name -> (low, high): ranges that stay, beyond which values are cut off. Of a
            transformer a few activations are 10 to 100 times as large as the others, which then fall on few integers. Names are
            those of `quantization_report`, without nested models around: {"*_inner/before_activation": (-5.0, 5.0)}.
        freeze_batch_normalization: bool, whether BatchNormalization keeps its statistics and uses them in training; its scale and
            shift train in any case.

    Returns:
        `keras.Model` with the weights, the inputs, outputs and layer names of `model`, and `FakeQuantize` layers between; not
        compiled.

    Raises:
        ArgumentError: something that was given cannot be used; a limit is for no tensor; a layer has no kernel for 4 bits.

    Source: Jacob et al., arXiv:1712.05877; Krishnamoorthi, arXiv:1806.08342.
    """
    check_plain(model)
    _check(weight_bits, activation_bits, ranges)
    excluded = left_out_layers(model, include, exclude)
    if weight_bits == 4:
        _require_four_bits(model, excluded)
    options = {"weight_bits": weight_bits, "activation_bits": activation_bits, "ranges": ranges}
    limits = _check_limits(limits)
    placement = Placement(options, lambda layer: id(layer) in excluded, freeze_batch_normalization, limits)
    made = placement.rebuild(model if is_functional(model) else _as_functional(model))
    for pattern in limits:
        if not fnmatch.filter(placement.names, pattern):
            close = difflib.get_close_matches(pattern, placement.names, cutoff=0.4)
            raise ArgumentError(
                f"`limits` must be for tensors that are rounded. Received: {pattern!r}, which matches none. "
                f"{'Closest' if close else 'There are'}: {', '.join(close or placement.names[:20])}."
            )
    return made


def strip_quantization(model):
    """A plain Keras model whose weights lie on the int8 grid; layers and names are those that `quantize_aware` was given.

    Example:

    ```python
    plain = tfopt.strip_quantization(qat)
    ```

    Args:
        model: what `quantize_aware` returned, trained or not; it is untouched.

    Returns:
        `keras.Model`, not compiled. Of a subclassed model, that model.

    Raises:
        ArgumentError: the model is not quantization-aware.
    """
    require_quantization_aware(model)
    wrappers = [layer for layer in model.layers if isinstance(layer, QuantizeWrapper)]
    if len(wrappers) == 1 and isinstance(wrappers[0].layer, keras.Model):  # a subclassed model, made Functional
        wrapper = Graph(model).calls[1].layer
        wrapper.bake()
        return wrapper.layer
    graph = Graph(model)

    def make(layer):
        if isinstance(layer, QuantizeWrapper):
            layer.bake()
            return layer.layer
        if isinstance(layer, FrozenBatchNormalization):
            return with_class(keras.layers.BatchNormalization, layer)
        origin = graph.origins[id(layer)]
        return strip_quantization(origin) if is_functional(layer) and is_quantization_aware(origin) else None

    def call(each, layer, args, kwargs):
        return args[0] if isinstance(layer, FakeQuantize) else layer(*args, **kwargs)

    return graph.replay(make, call=call)


def is_quantization_aware(model):
    """Whether `model` is one that `quantize_aware` made."""
    return any(isinstance(layer, QuantizeWrapper | FakeQuantize) for layer in walk_layers(model))


def require_quantization_aware(model):
    """Raises unless `quantize_aware` made `model`."""
    require_built(model)
    if not is_quantization_aware(model):
        raise ArgumentError(
            f"the model must be one that tfopt.quantize_aware returned. Received: {describe(model)}, which has no "
            "FakeQuantize layer."
        )


def check_plain(model):
    """Raises unless `model` is a built Keras 3 model that is not quantization-aware."""
    require_built(model)
    if not isinstance(model, keras.Model):
        raise ArgumentError(
            f"the model must be a Keras 3 model. Received: {describe(model)}, a {type(model).__module__.partition('.')[0]} "
            "one. For Keras 2 there is tfopt.legacy.quantize_aware."
        )
    if is_quantization_aware(model):
        raise ArgumentError(
            f"the model must be a float one. Received: {describe(model)}, which is quantization-aware already. "
            "tfopt.strip_quantization(model) makes it plain."
        )


def _check(weight_bits, activation_bits, ranges):
    if weight_bits not in (4, 8):
        raise ArgumentError(f"`weight_bits` must be 8 or 4. Received: weight_bits={weight_bits!r}.")
    if activation_bits != 8:
        raise ArgumentError(f"`activation_bits` must be 8, as TFLite has no others. Received: activation_bits={activation_bits!r}.")
    if ranges not in RANGES:
        raise ArgumentError(f"`ranges` must be one of {', '.join(RANGES)}. Received: ranges={ranges!r}.")


def _check_limits(limits):
    limits = {} if limits is None else limits
    usable = isinstance(limits, dict) and all(
        isinstance(name, str)
        and isinstance(ends, list | tuple)
        and len(ends) == 2
        and ends[0] <= 0 <= ends[1]
        and ends[0] < ends[1]
        for name, ends in limits.items()
    )
    if not usable:
        raise ArgumentError(
            "`limits` must be a dict of name -> (low, high) with low <= 0 <= high, as int8 has to hold 0 exactly. "
            f"Received: limits={limits!r}."
        )
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}


def _require_four_bits(model, excluded):
    without = [
        describe(layer)
        for layer in _outermost(model)
        if id(layer) not in excluded
        and any(isinstance(grid, weights.Grid) and not grid.has_four_bits for _, grid in weights.grids(layer))
    ]
    if without:
        raise ArgumentError(
            "`weight_bits=4` needs layers that TFLite computes with 4-bit weights: Conv1D, Conv2D, DepthwiseConv, SeparableConv "
            f"and Dense. Received: {', '.join(without[:5])}. Leave others out with `exclude`; they get 8 bits in the file."
        )


def _outermost(model):
    """The layers of `model` and of the Functional models in it."""
    for layer in model.layers:
        yield from _outermost(layer) if is_functional(layer) else (layer,)


def _as_functional(model):
    """A subclassed model as the one layer of a Functional model."""
    shapes = (model.get_build_config() or {}).get("input_shape")
    try:
        copy = copy_model(model)
        copy.trainable = model.trainable
        inputs = keras.tree.map_shape_structure(lambda shape: keras.Input(batch_shape=(None, *shape[1:])), shapes)
        return keras.Model(inputs, copy(inputs), name=model.name)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            "a subclassed model must run on one argument of known shape. Received: "
            f"{describe(model)}, input shape {shapes}: {(str(error).strip().splitlines() or [''])[0]}. "
            "Call it on a batch first, or make a Functional model around it."
        ) from error
