"""Make Keras 2 models quantization-aware with tensorflow-model-optimization (tfmot)."""

import functools
import warnings

from tfopt import errors
from tfopt.keras2 import quantized_layers as quantization
from tfopt.keras2.door import tfmot
from tfopt.keras2.model import custom_objects_of, has_quantizers, rebuild, require_plain
from tfopt.keras2.quantizers import input_quantizers, is_model
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.describe import describe
from tfopt.keras_model.select import left_out_layers
from tfopt.keras_model.walk import walk_layers


def quantize_aware(model, *, include=None, exclude=None):
    """A copy of a Keras 2 model that computes as an int8 file and trains as any other, by tensorflow-model-optimization (tfmot).

    What tfmot cannot quantize stays float in training, and a warning lists it: `tfopt.convert` then needs representative data,
    which tell the ranges there.

    Example:

    ```python
    qat = tfopt.legacy.quantize_aware(model)
    qat.compile(tf_keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    qat.fit(x, y, epochs=5)
    tfopt.convert(qat, validation_data=(x_test, y_test)).save("model.tflite")
    ```

    Where tfmot differs from `tfopt.quantize_aware`:

    - Its ranges begin at -6 and 6 and go a thousandth of the way at each step: after 1000 steps 37 % of the beginning are left,
      after 3000 steps 5 %. Until then wider tensors, such as logits, are cut, and narrow ones have few values.
    - Kernels have the ranges of the last step of training, those of Dense one as a whole; biases are not rounded.
    - A BatchNormalization scales the rounded kernel; it is not multiplied into it before.
    - A kernel trains even if its layer is frozen.
    - SeparableConv2D becomes a DepthwiseConv2D and a Conv2D, with names of their own.
    - A Dense before a BatchNormalization needs representative data in `tfopt.convert`, too.

    To be read again, save it as `.h5`, and call `tf_keras.models.load_model` in the scope
    `tfopt.legacy.tfmot().quantization.keras.quantize_scope()`.

    Args:
        model: a built tf_keras Sequential or functional model; it stays as it is. Such models inside are quantized too.
        include, exclude: None, or one or a list of: a glob of a layer's name or path (`encoder/dense_*`), a layer class, a
            function of a layer that returns a bool. What is left out stays float in training.

    Returns:
        A `tf_keras.Model` with the weights and the names of layers, inputs and outputs of `model`, not compiled.

    Raises:
        ArgumentError: a wrong argument, a Keras 3 model, or one of which tfmot can quantize nothing.

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
    excluded, reasons = left_out_layers(copy, include, exclude), {}
    functions = tfmot().quantization.keras
    supports = functions.default_8bit.Default8BitQuantizeRegistry().supports

    def quantized(layer, rounds_inputs):
        choice = quantization.choose(layer, supports, excluded)
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
            f"{describe(model)} with {quantization.listed(reasons) or 'all left out'}. Convert it without training: "
            "tfopt.convert(model, representative_data=x_train)."
        )
    if reasons:
        warnings.warn(
            "these layers stay float in training, as tensorflow-model-optimization does not quantize them; tfopt.convert takes "
            f"their ranges from representative data: {quantization.listed(reasons)}.",
            stacklevel=2,
        )
    return made


def _apply(model, choice):
    """A model in which tfmot rounds what was chosen; the models inside stay as they are."""
    import tf_keras

    functions = tfmot().quantization.keras
    if not choice.layers:
        return model
    if any(type(layer).__name__ == "SeparableConv2D" for layer in model.layers):
        # tfmot makes two layers of it, whose automatic names may be those of others: Keras' counters go past these.
        for name, make in (
            ("conv2d", functools.partial(tf_keras.layers.Conv2D, 1, 1)),
            ("depthwise_conv2d", functools.partial(tf_keras.layers.DepthwiseConv2D, 1)),
        ):
            while quantization.number(name, [make()]) < quantization.number(name, model.layers):
                pass

    def annotate(layer):
        return functions.quantize_annotate_layer(layer) if id(layer) in choice.layers else layer

    annotated = tf_keras.models.clone_model(model, clone_function=annotate)
    scheme = quantization.scheme(functions.default_8bit, {layer.name for layer in choice.unknown})
    return functions.quantize_apply(annotated, scheme, quantized_layer_name_prefix="")
