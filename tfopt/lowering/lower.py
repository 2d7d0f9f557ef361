"""Rewrite layers that TFLite cannot keep in int8, while a model is traced: the same float outputs from other operations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from tfopt.data.signature import TensorSpec
from tfopt.keras_model.patch import replaced_attributes
from tfopt.keras_model.walk import short_names, walk_layers, walk_operations
from tfopt.lowering import input_layers
from tfopt.lowering.activations import activation
from tfopt.lowering.attention import attention
from tfopt.lowering.convolution import three_dimensions, upsampling
from tfopt.lowering.input_scaling import find_input_scaling
from tfopt.lowering.normalization import normalization
from tfopt.lowering.operations.operations import OPERATION_RULES, Operations
from tfopt.lowering.pooling import masked_pooling
from tfopt.lowering.recurrent.cells import gru_cell, lstm_cell
from tfopt.lowering.recurrent.layers import recurrent
from tfopt.lowering.time_distributed import time_distributed

if TYPE_CHECKING:
    import keras

    from tfopt.keras_model.types import AnyLayer, AnyModel

RULES: dict[str, Callable[[AnyLayer | keras.Operation], dict[str, Any] | None]] = {
    "normalization": normalization,
    "activation": activation,
    "attention": attention,
    "recurrent": recurrent,
    "lstm_cell": lstm_cell,
    "gru_cell": gru_cell,
    "masked_pooling": masked_pooling,
    "upsampling": upsampling,
    "three_dimensions": three_dimensions,
    "time_distributed": time_distributed,
    "embedding": input_layers.embedding,
    "masking": input_layers.masking,
    "input_scaling": input_layers.input_scaling,
}
"""Name -> function from a layer to {attribute: replacement}, or to None where the rule leaves the layer as it is.

Two keys are no attributes, but information for `Lowering`: "keeps_functions" and "met".
"""

ALL = "all"
"""In place of a name: every rule."""


@dataclasses.dataclass(frozen=True)
class Lowering:
    """How a model is going to be rewritten.

    Attributes:
        replacements: layer -> attribute -> value, for `patch.replaced_attributes`.
        planned: rule -> list of (name of a layer, list that is empty until the rule rewrites it or None if it does so in any case).
        keeps_functions: whether the converter must see functions whole: it recognizes a fused LSTM by its function.
        operations: how the operations of the traced function are rewritten, whichever layer they belong to.
    """

    replacements: dict[AnyLayer | keras.Operation, dict[str, Any]]
    planned: dict[str, list[tuple[str, list[AnyLayer] | None]]]
    keeps_functions: bool
    operations: Operations

    @property
    def touched(self) -> dict[str, tuple[str, ...]]:
        """Rule -> names of the layers that it rewrites. Some rules decide when the model is traced."""
        found = {name: [layer for layer, met in pairs if met is None or met] for name, pairs in self.planned.items()}
        for name, scopes in self.operations.met.items():
            found.setdefault(name, []).extend(scopes)
        return {name: tuple(dict.fromkeys(names)) for name, names in found.items() if names}

    def active(self) -> AbstractContextManager[None]:
        """A context in which the model computes in its rewritten form."""
        return replaced_attributes(self.replacements)


def plan(model: AnyModel, *, skip: Collection[str] = ()) -> Lowering:
    """Finds the layers to rewrite.

    Example:

    ```python
    lowering = lower.plan(model)
    with lowering.active():
        ...  # trace the model
    ```

    Args:
        model: of either Keras generation.
        skip: names of `RULES` that are left out, or ("all",).

    Raises:
        ArgumentError: a layer cannot be expressed at all, such as a stateful one.
    """
    replacements: dict[AnyLayer | keras.Operation, dict[str, Any]] = {}
    planned: dict[str, list[tuple[str, list[AnyLayer] | None]]] = {}
    keeps_functions = False
    layers, names = [*walk_layers(model), *walk_operations(model)], short_names(model)
    for name, rule in RULES.items():
        if name in skip or ALL in skip:
            continue
        for layer in layers:
            found = rule(layer)
            if found:
                found = dict(found)
                keeps_functions |= found.pop("keeps_functions", False)
                planned.setdefault(name, []).append((names.get(id(layer), layer.name), found.pop("met", None)))
                replacements.setdefault(layer, {}).update(found)
    left = {} if ALL in skip else {name: rules for name, rules in OPERATION_RULES.items() if name not in skip}
    return Lowering(
        replacements, planned, keeps_functions, Operations(left, [names.get(id(layer), layer.name) for layer in layers])
    )


def with_mask_inputs(lowering: Lowering, places: tuple[int, ...]) -> Lowering:
    """The same for a model some of whose inputs are masks that are added to scores: see `Operations.mask_inputs`."""
    return dataclasses.replace(lowering, operations=dataclasses.replace(lowering.operations, mask_inputs=places))


def float_inputs(model: AnyModel, specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The inputs with float32 instead of integers where the model begins by scaling them, as pixels: see `find_input_scaling`.

    Args:
        model: of either Keras generation.
        specs: its inputs.
    """
    scaled = find_input_scaling(model) is not None and len(specs) == 1
    return [dataclasses.replace(spec, dtype="float32") if scaled and "int" in spec.dtype else spec for spec in specs]


NOTHING = Lowering({}, {}, False, Operations({}, ()))
