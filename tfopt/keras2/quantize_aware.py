"""`quantize_aware()`: make a Keras 2 model quantization-aware with tensorflow-model-optimization (tfmot)."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tfopt import errors
from tfopt.keras2.door import tfmot
from tfopt.keras2.quantized_layers import Choice, choose, listed, scheme
from tfopt.keras2.rebuild import custom_objects_of, rebuild
from tfopt.keras2.requirements import require_plain
from tfopt.keras2.tfmot_layers import has_quantizers, input_quantizers, is_model
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.describe import describe
from tfopt.keras_model.select import left_out_layers
from tfopt.keras_model.walk import walk_layers

if TYPE_CHECKING:
    import tf_keras

    from tfopt.keras_model.select import Selectors


def quantize_aware(model: tf_keras.Model, *, include: Selectors = None, exclude: Selectors = None) -> tf_keras.Model:
    """A copy of a Keras 2 model that rounds as an int8 file does while it trains, by tensorflow-model-optimization (tfmot).

    Layers that tfmot cannot quantize stay float in training, and a warning lists them: `tfopt.convert` then needs representative
    data, from which it takes the ranges of these layers.

    Example:

    ```python
    qat = tfopt.legacy.quantize_aware(model)
    qat.compile(tf_keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    qat.fit(x, y, epochs=5)
    tfopt.convert(qat, validation_data=(x_test, y_test)).save("model.tflite")
    ```

    Where tfmot differs from `tfopt.quantize_aware`:

    - The ranges of activations start at -6 to 6 and move a thousandth of the way at each step: after 1000 steps 37 % of the start
      remain, after 3000 steps 5 %. Until then wider tensors, such as logits, are clipped, and narrower ones have few values.
    - The range of a kernel is that of the last training step; the kernel of a Dense has one range. Biases are not rounded.
    - A BatchNormalization scales the kernel after it is rounded, not before.
    - A kernel is trained even if its layer is frozen.
    - A SeparableConv2D becomes a DepthwiseConv2D and a Conv2D with names of their own.
    - `tfopt.convert` also needs representative data if a Dense comes before a BatchNormalization.

    To read a saved model again, save it as `.h5` and load it in the scope of tfmot, which cannot read its `.keras` files:

    ```python
    import tensorflow_model_optimization as tfmot

    with tfmot.quantization.keras.quantize_scope():
        qat = tf_keras.models.load_model("qat.h5")
    ```

    This import sets TF_USE_LEGACY_KERAS=1, which turns `tf.keras` into Keras 2 in this process and its children, unless the process
    used `tf.keras` before; `keras` and `tf_keras` keep their meaning. Weights alone need no import: after
    `qat.save_weights("qat.weights.h5")`, call `tfopt.legacy.quantize_aware(model).load_weights("qat.weights.h5")`.

    Args:
        model: a built tf_keras Sequential or functional model; it stays as it is. Such models inside it are quantized too.
        include, exclude: None, or one or a list of: a glob of a layer's name or path (`encoder/dense_*`), a layer class, a
            function of a layer that returns a bool. Layers that are left out stay float in training.

    Returns:
        A model with the weights and the names of layers, inputs and outputs of `model`, not compiled.

    Raises:
        ArgumentError: a wrong argument, a Keras 3 model, or a model without a layer that tfmot can quantize.

    Source: Jacob et al., arXiv:1712.05877; https://www.tensorflow.org/model_optimization/guide/quantization/training.
    """
    require_plain(model, "quantize_aware")
    low = [layer for layer in walk_layers(model) if getattr(layer, "compute_dtype", "") in ("float16", "bfloat16")]
    if low:
        raise errors.ArgumentError(
            f"tfmot quantizes layers that compute in float32. Received: {describe(low[0])} in {low[0].compute_dtype}. "
            "Build the model under the dtype policy float32 and copy the weights with get_weights, set_weights."
        )
    copy = copy_model(model)
    excluded = left_out_layers(copy, include, exclude)
    reasons: dict[tf_keras.layers.Layer, str] = {}
    functions = tfmot().quantization.keras
    supports = functions.default_8bit.Default8BitQuantizeRegistry().supports

    def quantized(layer: tf_keras.Model, rounds_inputs: bool) -> tf_keras.Model:
        choice = choose(layer, supports, excluded)
        reasons.update({each: why for each, why in choice.unknown.items() if id(each) not in excluded})
        made = _apply(layer, choice)
        inside = {each.name: quantized(each, id(each) not in choice.fed) for each in layer.layers if is_model(each)}
        replacements = {id(each): inside[each.name] for each in made.layers if each.name in inside}
        if not rounds_inputs:
            replacements |= {id(each): type(each)(None, name=each.name) for each in input_quantizers(made)}
        return rebuild(made, replacements)

    with functions.quantize_scope(custom_objects_of(copy)):
        made = quantized(copy, rounds_inputs=True)
    if not has_quantizers(made):
        raise errors.ArgumentError(
            "the model must have layers that tfmot quantizes and that are not left out. Received: "
            f"{describe(model)} with {listed(reasons) or 'all layers left out'}. Convert it without training: "
            "tfopt.convert(model, representative_data=x_train)."
        )
    if reasons:
        warnings.warn(
            "these layers stay float in training, because tensorflow-model-optimization does not quantize them; tfopt.convert "
            f"takes their ranges from representative data: {listed(reasons)}.",
            stacklevel=2,
        )
    return made


def _apply(model: tf_keras.Model, choice: Choice) -> tf_keras.Model:
    """A model in which tfmot rounds the chosen layers; the models inside it stay as they are."""
    import tf_keras

    functions = tfmot().quantization.keras
    if not choice.layers:
        return model
    if any(type(layer).__name__ == "SeparableConv2D" for layer in model.layers):
        # tfmot makes two layers of each, whose automatic names could be taken: Keras' counters must pass the taken ones.
        for name, make in (
            ("conv2d", functools.partial(tf_keras.layers.Conv2D, 1, 1)),
            ("depthwise_conv2d", functools.partial(tf_keras.layers.DepthwiseConv2D, 1)),
        ):
            while _number(name, [make()]) < _number(name, model.layers):
                pass

    def annotate(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        return functions.quantize_annotate_layer(layer) if id(layer) in choice.layers else layer

    annotated = tf_keras.models.clone_model(model, clone_function=annotate)
    rules = scheme(functions.default_8bit, {layer.name for layer in choice.unknown})
    return functions.quantize_apply(annotated, rules, quantized_layer_name_prefix="")


def _number(name: str, layers: Iterable[tf_keras.layers.Layer]) -> int:
    """The highest number that an automatic name has among layers: 2 for `conv2d_2`, 0 for `conv2d`, else -1."""
    found = (re.fullmatch(rf"{name}(?:_(\d+))?", layer.name) for layer in layers)
    return max((int(match[1] or 0) for match in found if match), default=-1)
