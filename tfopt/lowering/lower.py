"""Rewrite, while a model is traced, what TFLite cannot keep in int8: the same float outputs from other operations."""

import dataclasses

from tfopt.keras_model.input_scaling import find_input_scaling
from tfopt.keras_model.patch import replaced_attributes
from tfopt.keras_model.walk import walk_layers, walk_operations
from tfopt.lowering import activations, attention, other_layers, recurrent
from tfopt.lowering.convolution import three_dimensions, upsampling
from tfopt.lowering.normalization import normalization

# Rule -> function from a layer to {attribute: replacement}, or None where the rule has nothing to do. "keeps" and "met" among the
# attributes are for `Lowering`.
RULES = {
    "normalization": normalization,
    "activation": activations.activation,
    "attention": attention.attention,
    "recurrent": recurrent.recurrent,
    "lstm_cell": recurrent.lstm_cell,
    "gru_cell": recurrent.gru_cell,
    "merging": other_layers.merging,
    "upsampling": upsampling,
    "three_dimensions": three_dimensions,
    "time_distributed": other_layers.time_distributed,
    "embedding": other_layers.embedding,
    "masking": other_layers.masking,
    "input_scaling": other_layers.input_scaling,
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
        return replaced_attributes(self.replacements)


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
    layers = [*walk_layers(model), *walk_operations(model)]
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
    scaled = find_input_scaling(model) is not None and len(specs) == 1
    return [dataclasses.replace(spec, dtype="float32") if scaled and "int" in spec.dtype else spec for spec in specs]


NOTHING = Lowering({}, {}, [])
