"""Rewrite, while a model is traced, what TFLite cannot keep in int8: the same float outputs from other operations."""

import dataclasses

from tfopt import surgery
from tfopt.conversion import lower_activations, lower_attention, lower_layers, lower_recurrent

# Rule -> function from a layer to {attribute: replacement}, or None where the rule has nothing to do. "keeps" and "met" among the
# attributes are for `Lowering`.
RULES = {
    "normalization": lower_layers.normalization,
    "activation": lower_activations.activation,
    "attention": lower_attention.attention,
    "recurrent": lower_recurrent.recurrent,
    "lstm_cell": lower_recurrent.lstm_cell,
    "gru_cell": lower_recurrent.gru_cell,
    "merging": lower_layers.merging,
    "upsampling": lower_layers.upsampling,
    "three_dimensions": lower_layers.three_dimensions,
    "time_distributed": lower_layers.time_distributed,
    "embedding": lower_layers.embedding,
    "masking": lower_layers.masking,
    "input_scaling": lower_layers.input_scaling,
}
ALL = "all"


@dataclasses.dataclass(frozen=True)
class Lowering:
    """What is going to be rewritten in a model.

    Attributes:
        replacements: dict of layer -> dict of attribute -> value, for `surgery.replaced`.
        planned: dict of rule -> list of (name of a layer that it rewrites, None or a list that is empty until it does).
        keeps: list of layers that the rewritten model computes with and that it does not own.
        keeps_functions: bool, whether the converter must see functions whole, as a fused LSTM is known by its function.
    """

    replacements: dict
    planned: dict
    keeps: list

    @property
    def touched(self):
        """dict of rule -> tuple of names of the layers that it rewrites; of some it shows only when the model is traced."""
        found = {name: tuple(layer for layer, met in pairs if met is None or met) for name, pairs in self.planned.items()}
        return {name: names for name, names in found.items() if names}

    @property
    def keeps_functions(self):
        return bool(self.keeps)

    def active(self):
        """A context in which the model computes in its rewritten form."""
        return surgery.replaced(self.replacements)


def plan(model, *, skip=()):
    """Finds what to rewrite.

    Example:

    ```python
    lowering = lower.plan(model)
    with lowering.active():
        ...  # trace the model
    ```

    Args:
        model: a Keras 3 or Keras 2 model.
        skip: names of rules that are not to be used, or ("all",).

    Returns:
        A `Lowering`.

    Raises:
        ArgumentError: a layer cannot be expressed at all, as a stateful one.
    """
    replacements, planned, keeps = {}, {}, []
    layers = [*surgery.walk_layers(model), *surgery.walk_operations(model)]
    for name, rule in RULES.items():
        if name in skip or ALL in skip:
            continue
        for layer in layers:
            found = rule(layer)
            if found:
                found = dict(found)
                keeps += found.pop("keeps", ())
                planned.setdefault(name, []).append((layer.name, found.pop("met", None)))
                replacements.setdefault(layer, {}).update(found)
    return Lowering(replacements, planned, keeps)


def float_inputs(model, specs):
    """The inputs with float32 in place of integers where the model begins by scaling them, as pixels: see `input_scaling`."""
    scaled = surgery.input_scaling(model) is not None and len(specs) == 1
    return [dataclasses.replace(spec, dtype="float32") if scaled and "int" in spec.dtype else spec for spec in specs]


NOTHING = Lowering({}, {}, [])
