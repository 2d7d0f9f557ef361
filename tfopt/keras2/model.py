"""Questions to a Keras 2 model, and the same model with other layers in it."""

from tfopt import errors
from tfopt.keras2.quantizers import quantizers
from tfopt.keras_model.describe import describe
from tfopt.keras_model.walk import walk_layers


def has_quantizers(model):
    """Whether a model has layers that round, as those of `quantize_aware` and of tfmot's `quantize_model`.

    Args:
        model: a model of either generation.
    """
    return bool(quantizers(model))


def require_plain(model, function):
    require_keras2(model, function)
    for is_so, state in ((wrapped_layers(model), "under pruning"), (has_quantizers(model), "quantization-aware")):
        if is_so:
            raise errors.ArgumentError(
                f"the model must not be {state} yet. Received: {describe(model)}. Call tfopt.legacy.strip on it before."
            )


def require_keras2(model, function):
    import keras
    import tf_keras

    if isinstance(model, keras.Model):
        pruning = "Give its fit callbacks=[tfopt.PruningCallback(schedule)]: it needs no wrapper and no strip."
        advice = {
            "quantize_aware": "tfopt.quantize_aware(model) serves it.",
            "strip": f"{pruning} After tfopt.quantize_aware there is tfopt.strip_quantization(model).",
        }.get(function, pruning)
        raise errors.ArgumentError(
            f"tfopt.keras2.door.{function} serves Keras 2 (tf_keras) models. Received: {describe(model)} of Keras 3. {advice}"
        )
    if not isinstance(model, tf_keras.Model) or not getattr(model, "outputs", None):
        name = describe(model) if isinstance(model, tf_keras.Model) else type(model).__name__
        raise errors.ArgumentError(
            f"tfopt.keras2.door.{function} needs a built Sequential or functional tf_keras model, as tfmot does. Received: {name}."
        )


def wrapped_layers(model):
    """The wrappers of tfmot in a model."""
    return [layer for layer in walk_layers(model) if hasattr(layer, "pruning_obj") and hasattr(layer, "pruning_schedule")]


def custom_objects_of(model):
    """What makes the layers of a model from their configurations; a Lambda is that layer itself, as Keras reads no code."""
    import tf_keras

    layers = list(walk_layers(model))
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


def rebuild(model, replacements):
    """`model` with other layers, dict of id of a layer -> layer, in it and in the models inside; the rest is shared."""
    import tf_keras

    def replace(layer):
        if id(layer) not in replacements and any(id(inner) in replacements for inner in walk_layers(layer)):
            replacements[id(layer)] = tf_keras.models.clone_model(layer, clone_function=replace)
        return replacements.get(id(layer), layer)

    return replace(model)
