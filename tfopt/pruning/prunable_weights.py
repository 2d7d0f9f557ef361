"""Which weights are pruned: the kernels, and for all other weights the reason why they are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np
import numpy.typing as npt

from tfopt import errors
from tfopt.keras_model.describe import describe
from tfopt.keras_model.output_layers import find_output_layers
from tfopt.keras_model.select import select
from tfopt.keras_model.weights import Weight, walk_weights
from tfopt.pruning import masks

if TYPE_CHECKING:
    from tfopt.keras_model.select import Selectors
    from tfopt.keras_model.types import AnyLayer, AnyModel, AnyVariable

# Layer class -> its weights that are pruned by default. A class takes the weights of the nearest class that it derives from.
KERNELS = {
    "Dense": ("kernel",),
    "EinsumDense": ("kernel",),
    **{f"Conv{rank}D": ("kernel",) for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": ("kernel",) for rank in (1, 2, 3)},
    **{f"SeparableConv{rank}D": ("pointwise_kernel",) for rank in (1, 2)},
    **{f"{kind}Cell": ("kernel", "recurrent_kernel") for kind in ("LSTM", "GRU", "SimpleRNN")},
}
_ON_DEMAND = {"Embedding": "an embedding", **{f"DepthwiseConv{rank}D": "a depthwise kernel" for rank in (1, 2)}}


@dataclasses.dataclass(frozen=True)
class Target:
    """A weight that is pruned, as a matrix (inputs, outputs)."""

    weight: Weight

    @property
    def name(self) -> str:
        """The name of the weight in the model, such as `encoder/dense_1/kernel`."""
        return self.weight.name

    @property
    def layer_name(self) -> str:
        """Names of the layers around the weight, such as `encoder/dense_1`."""
        return self.weight.layer_name

    @property
    def variable(self) -> AnyVariable:
        """The variable of the weight."""
        return self.weight.variable

    @property
    def size(self) -> int:
        """The number of single weights."""
        return int(np.prod(self.variable.shape))

    def matrix(self) -> npt.NDArray[np.float32]:
        """The value as a matrix (inputs, outputs).

        Raises:
            PruningError: a weight is NaN or infinite.
        """
        value = np.asarray(self.variable.numpy()).astype("float32")
        if not np.isfinite(value).all():
            raise errors.PruningError(f"weights must be finite to be pruned. Received: NaN or infinity in {self.name}.")
        return masks.to_matrix(value, self.inputs)

    def unmatrix(self, matrix: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """A mask of the matrix in the shape of the variable."""
        return masks.from_matrix(matrix, tuple(self.variable.shape), self.inputs)

    @property
    def is_untrained(self) -> bool:
        """Whether the value is still the one that the initializer of the weight made, such as an identity, with its zeros."""
        layer, kind = self.weight.layers[-1], self.weight.kind
        names = (f"{kind}_initializer", f"{kind.removesuffix('_kernel')}_initializer")
        made = next((getattr(layer, name) for name in names if hasattr(layer, name)), None)
        if not isinstance(made, keras.initializers.Initializer):
            return False
        if isinstance(getattr(made, "seed", None), keras.random.SeedGenerator):  # a call would move it
            return False
        start = keras.ops.convert_to_numpy(made(tuple(self.variable.shape), dtype=self.variable.dtype))
        return bool(np.array_equal(start, self.variable.numpy()))

    @property
    def inputs(self) -> tuple[int, ...]:
        """The axes that are summed over."""
        layer, rank = self.weight.layers[-1], len(self.variable.shape)
        if self.weight.kind == "depthwise_kernel" or _table_class(layer, _ON_DEMAND) in ("DepthwiseConv1D", "DepthwiseConv2D"):
            return tuple(range(rank - 2))
        if self.weight.kind == "kernel" and "Transpose" in (_table_class(layer, KERNELS) or ""):
            return (*range(rank - 2), rank - 1)
        if self.weight.kind == "kernel" and _table_class(layer, KERNELS) == "EinsumDense":
            operands, _, result = layer.equation.replace(" ", "").partition("->")
            kernel = operands.partition(",")[2]
            return tuple(axis for axis, letter in enumerate(kernel) if letter not in result)
        return tuple(range(rank - 1))


def find_targets(
    model: AnyModel,
    pattern: masks.Pattern,
    include: Selectors = None,
    exclude: Selectors = None,
    plan: Mapping[str, float] | None = None,
    frozen: bool = True,
) -> tuple[list[Target], dict[str, str]]:
    """The weights to prune.

    Args:
        model: a built Keras 3 or Keras 2 model.
        pattern: the pattern of the zeros.
        include, exclude: as for `PruningCallback`.
        plan: layer name -> sparsity: only these layers are pruned; None: no plan.
        frozen: whether weights that do not train are pruned without being included.

    Returns:
        The targets, and for all other weights of rank 2 and more, name -> reason.

    Raises:
        ArgumentError: a selector matches nothing, the pattern does not fit a weight that was asked for, or no weight is left.
    """
    weights = [weight for weight in walk_weights(model) if len(weight.variable.shape) >= 2]
    included, excluded = select([weight.place for weight in weights], include, exclude)
    if plan is not None:
        _check_plan(plan, weights)
    heads = {id(getattr(layer, "layer", layer)) for layer in find_output_layers(model)}  # of a wrapper, the wrapped layer
    targets: list[Target] = []
    left: dict[str, str] = {}
    for index, weight in enumerate(weights):
        asked = index in included or (plan is not None and weight.layer_name in plan)
        reason = None
        if index in excluded:
            reason = "excluded"
        elif "float" not in _dtype(weight.variable):
            reason = f"its dtype is {_dtype(weight.variable)}"
        elif getattr(weight.layers[-1], "lora_enabled", False):
            reason = "LoRA fills its zeros when the model is saved"
        elif plan is not None and weight.layer_name not in plan:
            reason = "not in the plan"
        elif include is not None and index not in included:
            reason = "not included"
        elif not asked:
            reason = _reason_against(weight, heads, frozen)
        if reason is None:
            target = Target(weight)
            reason = pattern.misfit(target.matrix().shape)
            if reason is None:
                targets.append(target)
                continue
            if asked:
                raise errors.ArgumentError(f"{pattern} must fit every weight that is asked for. Received: {weight.name}: {reason}.")
        left[weight.name] = reason
    if not targets:
        found = "; ".join(f"{name}: {reason}" for name, reason in left.items()) or "it has no weights of rank 2 or more"
        raise errors.ArgumentError(f"the model must have weights to prune. Received: {describe(model)}, where {found}.")
    return targets, left


def _check_plan(plan: Mapping[str, float], weights: Collection[Weight]) -> None:
    names = {weight.layer_name for weight in weights}
    unknown = sorted(set(plan) - names)
    if unknown:
        raise errors.ArgumentError(
            f"a plan must name layers of the model. Received: {unknown}. There are: {', '.join(sorted(names))}."
        )


def _reason_against(weight: Weight, heads: Collection[int], frozen: bool) -> str | None:
    layer = weight.layers[-1]
    kind = _table_class(layer, {**KERNELS, **_ON_DEMAND})
    reason = None
    if not frozen and not weight.variable.trainable:
        reason = "it is frozen"
    elif kind in _ON_DEMAND:
        reason = _ON_DEMAND[kind]
    elif weight.kind == "depthwise_kernel":
        reason = "a depthwise kernel"
    elif kind is None or weight.kind not in KERNELS[kind]:
        reason = f"a {weight.kind} of {type(layer).__name__}"
    elif id(layer) in heads:
        reason = "the output layer"
    return None if reason is None else f"{reason}; include it to prune it"


def _table_class(layer: AnyLayer, table: Collection[str]) -> str | None:
    return next((kind.__name__ for kind in type(layer).__mro__ if kind.__name__ in table), None)


def _dtype(variable: AnyVariable) -> str:
    return getattr(variable.dtype, "name", variable.dtype)
