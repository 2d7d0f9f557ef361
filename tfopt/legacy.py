"""The only door to Keras 2: `tf_keras` and tfmot are imported here, inside functions, and nowhere else."""

import dataclasses
import functools
import operator
import os
import warnings

import numpy as np

from tfopt import errors, surgery
from tfopt.pruning import keras2, masks, options, schedules
from tfopt.quantization import keras2 as quantization

# Layers that files name although `tf_keras.layers` does not list them: tf_keras finds them all the same.
_UNLISTED_LAYERS = {
    "Functional", "Model", "Sequential", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod",
    "InstanceProperty", "SyncBatchNormalization", "RandomFourierFeatures",
}  # fmt: skip


def version():
    """The version of tf_keras."""
    import tf_keras

    return tf_keras.__version__


def registered_names():
    """Names of the custom classes and functions that Keras 2 knows by registration."""
    import tf_keras

    return set(tf_keras.saving.get_custom_objects())


def known_layers():
    """Names of the layer classes that Keras 2 finds without being given them."""
    import tf_keras

    preprocessing = tf_keras.layers.experimental.preprocessing
    registered = {name.rpartition(">")[2] for name in registered_names()}
    return {*dir(tf_keras.layers), *dir(preprocessing), *_UNLISTED_LAYERS, *registered}


def known_parts():
    """Names of the initializers, regularizers and constraints that Keras 2 finds without being given them."""
    import tf_keras

    modules = (tf_keras.initializers, tf_keras.regularizers, tf_keras.constraints)
    old = {"normal", "uniform", "one", "zero", "L1L2", "maxnorm", "nonneg", "unitnorm"}
    registered = {name.rpartition(">")[2] for name in registered_names()}
    return {name for module in modules for name in dir(module)} | old | registered


def known_functions():
    """Names of the activations that Keras 2 finds without being given them."""
    import tf_keras

    registered = {name.rpartition(">")[2] for name in registered_names()}
    return {*dir(tf_keras.activations), "leaky_relu", "log_softmax", "relu6", "silu", "crelu", *registered}


def from_config(config, custom_objects):
    """A model without its weights, from a configuration that was looked at before: code in it runs.

    Args:
        config: dict with "class_name" and "config".
        custom_objects: dict of name -> class or function.

    Returns:
        A `tf_keras.Model`.
    """
    import tf_keras

    with tf_keras.utils.custom_object_scope(custom_objects):
        return tf_keras.models.model_from_config(config, custom_objects=custom_objects)


def lambda_layer(function):
    """A class that is built from a `Lambda` layer's configuration but computes with `function`."""
    import tf_keras

    class Given(tf_keras.layers.Lambda):
        @classmethod
        def from_config(cls, config, custom_objects=None):
            return tf_keras.layers.Lambda(function, **config)

    return Given


def load_model(path, *, custom_objects=None, safe_mode=True):
    """Reads a Keras 2 `.h5` or `.keras` file with the Keras that wrote it; optimizer and losses are left out.

    Args:
        path: str, the file.
        custom_objects: None or dict of name -> class or function.
        safe_mode: bool, whether serialized Python code is refused.

    Returns:
        A `tf_keras.Model`.
    """
    import tf_keras

    return tf_keras.models.load_model(path, custom_objects=custom_objects, compile=False, safe_mode=safe_mode)


def copy_model(model):
    """A second `tf_keras` model with the same layers and weights; not compiled.

    Args:
        model: a built `tf_keras` model, Sequential or functional.

    Raises:
        ArgumentError: the model is a subclassed one.
    """
    import tf_keras

    try:
        copy = tf_keras.models.clone_model(model)
    except (ValueError, NotImplementedError) as error:
        raise errors.ArgumentError(
            f"the model must be one that its configuration can make again: Sequential or functional. Received: {model.name} "
            f"({type(model).__name__}): {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        ) from error
    copy.set_weights(model.get_weights())
    return copy


def fused_lstm(weights, return_sequences, name):
    """A Keras 2 LSTM, which the TFLite converter turns into one operation (UNIDIRECTIONAL_SEQUENCE_LSTM).

    Args:
        weights: list of arrays: kernel (features, 4 units), recurrent kernel (units, 4 units), bias (4 units).
        return_sequences: bool.
        name: str.

    Returns:
        A `tf_keras.layers.LSTM`.
    """
    import tf_keras

    kernel, recurrent, _ = weights
    layer = tf_keras.layers.LSTM(len(recurrent), return_sequences=return_sequences, name=name)
    layer.build((None, None, len(kernel)))
    layer.set_weights(weights)
    return layer


def prune(model, schedule, *, pattern=masks.Unstructured(), include=None, exclude=None, frequency=None):
    """A copy of a Keras 2 model whose weights become zero while it trains, by tensorflow-model-optimization (tfmot).

    The same schedule means the same as for `tfopt.PruningCallback`: at optimizer step `t`, before that step's gradient,
    `size - round(size x (1 - s(t)))` weights of each tensor are zero. Compile the copy, train it with `pruning_callbacks()` and
    take its layers out of tfmot's wrappers with `strip`.

    Example:

    ```python
    pruned = tfopt.legacy.prune(model, tfopt.PolynomialDecay(final_sparsity=0.8))
    pruned.compile("adam", "mse")
    pruned.fit(x, y, epochs=10, callbacks=tfopt.legacy.pruning_callbacks())
    tfopt.legacy.strip(pruned).save("pruned.h5")
    ```

    Where the arithmetic of tfmot differs from that of `tfopt.PruningCallback`:

    - tfmot counts steps from 1 and tfopt from 0: tfmot's `begin_step=1, end_step=101` is `begin=0, end=100` here. tfmot's own
      schedules miss the last update unless `frequency` divides `end_step - begin_step`; here it always takes place.
    - tfmot's own `ConstantSparsity` chooses the weights anew every `frequency` steps; here they are chosen once, at `begin`.
    - tfmot computes the count in float32, `max(round(size x (1 - s)), 1)` weights left: one of a tensor always stays, and large
      tensors differ by a few weights, one in 4 million.
    - Of weights with the magnitude of the threshold tfmot keeps all, tfopt as many as are due.
    - tfmot ranks weights after the optimizer's step: where one step lifts a pruned weight over the threshold, it comes back in
      the place of another. In tfopt a pruned weight stays zero.

    Args:
        model: a built tf_keras Sequential or functional model; it stays as it is. Nested ones are pruned inside.
        schedule: `ConstantSparsity` or `PolynomialDecay`, in steps of the optimizer or fractions of the run.
        pattern: `Unstructured()`; `Block((rows, columns))` for matrices only (Dense and recurrent layers; exclude others), of
            two blocks and more along each side; `NByM(n, m)` for kernels of Dense and Conv2D whose input channels divide by
            `m`, with `ConstantSparsity` from the beginning, as tfmot makes it at the first step.
        include, exclude: as for `tfopt.PruningCallback`, which selects the same weights.
        frequency: optimizer steps between two updates, an int above 0; None: 50 updates between the schedule's begin and end.

    Returns:
        A `tf_keras.Model`, not compiled. Weights that are zero already stay zero.

    Raises:
        ArgumentError: a wrong argument, a Keras 3 model, or something that tfmot cannot do.

    References:
        Zhu and Gupta, To prune, or not to prune, arXiv:1710.01878.
    """
    _check_plain(model, "prune")
    options.check_schedule(schedule, pattern, "layer", frequency)
    keras2.check_schedule(schedule, pattern)
    copy = copy_model(model)
    replacements = {}
    for layer, (own, variables) in keras2.find_layers(copy, schedule, pattern, include, exclude).items():
        # tfmot asks a layer for its weights to prune, and knows only some layers by itself.
        layer.get_prunable_weights = functools.partial(list, variables)
        replacements[id(layer)] = tfmot().sparsity.keras.prune_low_magnitude(
            layer,
            pruning_schedule=_tfmot_schedule()(own, frequency),
            dtype=layer.dtype_policy,  # else the wrapper takes the policy of the moment
            **keras2.tfmot_options(pattern),
        )
    return _rebuild(copy, replacements)


def pruning_callbacks():
    """The callbacks with which a model of `prune` trains.

    They place the schedule in the run, update the masks, add `logs["sparsity"]`, the share of zeros in the pruned weights, at the
    end of each epoch, and look at the end of training whether the sparsity was reached. Let them be the first in the list.

    Example: `pruned.fit(x, y, epochs=10, callbacks=[*tfopt.legacy.pruning_callbacks(), early_stopping])`

    Returns:
        list of `tf_keras.callbacks.Callback`: our own and tfmot's `UpdatePruningStep`.

    Raises:
        ArgumentError: at the beginning of `fit`, if the model does not come from `prune`.
        PruningError: the schedule does not fit the run, or the sparsity was missed at the end.
    """
    return [_sparsity_callback()(), tfmot().sparsity.keras.UpdatePruningStep()]


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
    _check_plain(model, "quantize_aware")
    low = [layer for layer in surgery.walk_layers(model) if getattr(layer, "compute_dtype", "") in ("float16", "bfloat16")]
    if low:
        raise errors.ArgumentError(
            f"tfmot quantizes layers that compute in float32. Received: {surgery.describe(low[0])} in {low[0].compute_dtype}. "
            "Build the model under the dtype policy float32 and copy the weights with get_weights, set_weights."
        )
    copy = copy_model(model)
    excluded, reasons = surgery.left_out(copy, include, exclude), {}
    functions = tfmot().quantization.keras
    supports = functions.default_8bit.Default8BitQuantizeRegistry().supports

    def quantized(layer, rounds_inputs):
        choice = quantization.choose(layer, supports, excluded)
        reasons.update({each: why for each, why in choice.unknown.items() if id(each) not in excluded})
        made = _apply(layer, choice)
        inside = {each.name: quantized(each, id(each) not in choice.fed) for each in layer.layers if quantization.is_model(each)}
        replacements = {id(each): inside[each.name] for each in made.layers if each.name in inside}
        if not rounds_inputs:
            replacements |= {id(each): type(each)(None, name=each.name) for each in quantization.input_quantizers(made)}
        return _rebuild(made, replacements)

    with functions.quantize_scope(_custom_objects(copy)):
        made = quantized(copy, rounds_inputs=True)
    if not is_quantization_aware(made):
        raise errors.ArgumentError(
            "the model must have layers that tfmot quantizes and that are not left out. Received: "
            f"{surgery.describe(model)} with {quantization.listed(reasons) or 'all left out'}. Convert it without training: "
            "tfopt.convert(model, representative_data=x_train)."
        )
    if reasons:
        warnings.warn(
            "these layers stay float in training, as tensorflow-model-optimization does not quantize them; tfopt.convert takes "
            f"their ranges from representative data: {quantization.listed(reasons)}.",
            stacklevel=2,
        )
    return made


def is_quantization_aware(model):
    """Whether a model has layers that round, as those of `quantize_aware` and of tfmot's `quantize_model`.

    Args:
        model: a model of either generation.
    """
    return bool(quantization.quantizers(model))


def strip(model):
    """A plain Keras 2 model with the weights of a model that `prune` or `quantize_aware` made.

    Example: `tfopt.legacy.strip(pruned).save("pruned.h5")`

    Args:
        model: a tf_keras model of `prune` (or of tfmot's `prune_low_magnitude`), or of `quantize_aware` (or tfmot's
            `quantize_model`); it stays as it is.

    Returns:
        A `tf_keras.Model` with the layers and names of the model before, not compiled. Nothing holds its zeros when it trains
        on; weights are not rounded.

    Raises:
        ArgumentError: a Keras 3 model, or a model that is plain already.
    """
    _check_model(model, "strip")
    if is_quantization_aware(model):
        return _strip_quantization(model)
    wrappers = _wrapped_layers(model)
    if not wrappers:
        raise errors.ArgumentError(
            "the model must come from tfopt.legacy.prune or tfopt.legacy.quantize_aware. Received: "
            f"{surgery.describe(model)}, a plain one."
        )
    # A loop without callbacks leaves the last gradient on what should be zero.
    model.distribute_strategy.run(lambda: [wrapper.pruning_obj.weight_mask_op() for wrapper in wrappers])
    return copy_model(_rebuild(model, {id(wrapper): wrapper.layer for wrapper in wrappers}))


@functools.cache
def tfmot():
    """The package tensorflow_model_optimization, imported so that `tf.keras` goes on meaning what it meant.

    Its import sets the variable TF_USE_LEGACY_KERAS of the process and of its children, which turns a `tf.keras` that was not
    used before into Keras 2.

    Example: `tfopt.legacy.tfmot().sparsity.keras.PruningSummaries(log_dir="logs")`

    Returns:
        The module.
    """
    import tensorflow

    operator.attrgetter("keras.Model")(tensorflow)  # its meaning is settled at its first use
    name = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(name)
    try:
        import tensorflow_model_optimization
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
    return tensorflow_model_optimization


def _check_plain(model, function):
    _check_model(model, function)
    for is_so, state in ((_wrapped_layers(model), "under pruning"), (is_quantization_aware(model), "quantization-aware")):
        if is_so:
            raise errors.ArgumentError(
                f"the model must not be {state} yet. Received: {surgery.describe(model)}. Call tfopt.legacy.strip on it before."
            )


def _check_model(model, function):
    import keras
    import tf_keras

    if isinstance(model, keras.Model):
        pruning = "Give its fit callbacks=[tfopt.PruningCallback(schedule)]: it needs no wrapper and no strip."
        advice = {
            "quantize_aware": "tfopt.quantize_aware(model) serves it.",
            "strip": f"{pruning} After tfopt.quantize_aware there is tfopt.strip_quantization(model).",
        }.get(function, pruning)
        raise errors.ArgumentError(
            f"tfopt.legacy.{function} serves Keras 2 (tf_keras) models. Received: {surgery.describe(model)} of Keras 3. {advice}"
        )
    if not isinstance(model, tf_keras.Model) or not getattr(model, "outputs", None):
        name = surgery.describe(model) if isinstance(model, tf_keras.Model) else type(model).__name__
        raise errors.ArgumentError(
            f"tfopt.legacy.{function} needs a built Sequential or functional tf_keras model, as tfmot does. Received: {name}."
        )


def _wrapped_layers(model):
    """The wrappers of tfmot in a model."""
    return [layer for layer in surgery.walk_layers(model) if hasattr(layer, "pruning_obj") and hasattr(layer, "pruning_schedule")]


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


def _strip_quantization(model):
    """The model without tfmot's layers."""
    import tf_keras

    kind = "Sequential" if isinstance(model, tf_keras.Sequential) else "Functional"
    config = {"class_name": kind, "config": quantization.plain_config(model.get_config())}
    plain = from_config(config, _custom_objects(model))
    quantization.copy_weights(model, plain)
    return plain


def _custom_objects(model):
    """What makes the layers of a model from their configurations; a Lambda is that layer itself, as Keras reads no code."""
    import tf_keras

    layers = list(surgery.walk_layers(model))
    found = [layer for layer in layers if isinstance(layer, tf_keras.layers.Lambda)]
    kept = {layer.name: layer for layer in found}
    if len(kept) < len(found):
        raise errors.ArgumentError(
            "Lambda layers must have different names, also in models inside. Received: "
            f"{', '.join(sorted(layer.name for layer in found))}. Give `name`."
        )

    class Kept(tf_keras.layers.Lambda):
        @classmethod
        def from_config(cls, config, custom_objects=None):
            return kept[config["name"]]

    return {**{type(layer).__name__: type(layer) for layer in layers}, "Lambda": Kept}


def _rebuild(model, replacements):
    """`model` with other layers, dict of id of a layer -> layer, in it and in the models inside; the rest is shared."""
    import tf_keras

    def replace(layer):
        if id(layer) not in replacements and any(id(inner) in replacements for inner in surgery.walk_layers(layer)):
            replacements[id(layer)] = tf_keras.models.clone_model(layer, clone_function=replace)
        return replacements.get(id(layer), layer)

    return replace(model)


@functools.cache
def _tfmot_schedule():
    """The class that shows one of our schedules to tfmot."""
    import tensorflow as tf
    import tf_keras

    @tf_keras.saving.register_keras_serializable(package="tfopt")
    class Schedule(tfmot().sparsity.keras.PruningSchedule):
        """The steps at which masks are made and the sparsity at each; empty until a run has begun.

        Steps are the optimizer's. tfmot's own count, `step`, goes up at every call of a layer, so twice a step in a shared one.
        """

        def __init__(self, schedule, frequency=None):
            self.schedule = schedule
            self.frequency = frequency
            self.iterations = None  # of the optimizer, a variable
            self.run = None

        def __call__(self, step):
            if self.run is None:
                return tf.constant(False), tf.constant(0.0)
            now = tf.cast(self.iterations, tf.int64)
            steps = tf.constant(self.run.steps, tf.int64)
            index = tf.minimum(tf.searchsorted(steps, now[tf.newaxis])[0], len(self.run.steps) - 1)
            return tf.equal(steps[index], now), tf.constant(self.run.sparsities, tf.float32)[index]

        def get_config(self):
            fields = {"kind": type(self.schedule).__name__, **dataclasses.asdict(self.schedule)}
            return {"class_name": "tfopt>Schedule", "config": {"schedule": fields, "frequency": self.frequency}}

        @classmethod
        def from_config(cls, config):
            fields = dict(config["schedule"])
            return cls(getattr(schedules, fields.pop("kind"))(**fields), config["frequency"])

    return Schedule


@functools.cache
def _sparsity_callback():
    """The class of the callback that places the schedules and checks what came of them."""
    import tf_keras

    class Sparsity(tf_keras.callbacks.Callback):
        """Places the schedules in a run and looks at the sparsity."""

        def on_train_begin(self, logs=None):
            """Finds the layers."""
            _check_model(self.model, "pruning_callbacks")
            self.wrappers = _wrapped_layers(self.model)
            foreign = [each.name for each in self.wrappers if not isinstance(each.pruning_schedule, _tfmot_schedule())]
            if foreign or not self.wrappers:
                raise errors.ArgumentError(
                    "the model must come from tfopt.legacy.prune. Received: "
                    f"{surgery.describe(self.model)}, {'with a schedule of tfmot' if foreign else 'which has no pruned layer'}."
                )
            self.placed = False

        def on_epoch_begin(self, epoch, logs=None):
            """Places the schedules: only now other callbacks have restored an interrupted run."""
            if self.placed:
                return
            now = self._step()
            start, total = options.span(now, epoch, self.params.get("epochs"), self.params.get("steps"))
            for wrapper in self.wrappers:
                own = wrapper.pruning_schedule
                own.run = keras2.place(own.schedule, own.frequency, start, total, now, keras2.least_sparsity(wrapper))
                own.iterations = self.model.optimizer.iterations
            self.model.make_train_function(force=True)  # the table is a constant of its graph
            self.placed = True

        def on_epoch_end(self, epoch, logs=None):
            """Makes the masks that are due after the last step, which tfmot leaves to the next, and adds the sparsity."""
            self.model.distribute_strategy.run(self._update)
            if logs is not None:
                values = [weight.numpy() for wrapper in self.wrappers for weight, *_ in wrapper.pruning_vars]
                logs["sparsity"] = 1 - sum(int(np.count_nonzero(value)) for value in values) / sum(value.size for value in values)

        def on_train_end(self, logs=None):
            """Compares the sparsity with the target."""
            if self.placed:
                keras2.check_target(self.wrappers, self._step())

        def _update(self):
            for wrapper in self.wrappers:
                wrapper.pruning_obj.weight_mask_op()
                wrapper.pruning_obj.conditional_mask_update()
                wrapper.pruning_obj.weight_mask_op()

        def _step(self):
            return int(self.model.optimizer.iterations.numpy())

    return Sparsity
