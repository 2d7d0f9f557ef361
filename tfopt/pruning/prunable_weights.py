"""Which weights: the kernels that are pruned, and for all others why not."""

import dataclasses

import numpy as np

from tfopt import errors
from tfopt.keras_model.describe import describe
from tfopt.keras_model.ends import output_layers
from tfopt.keras_model.select import select_weights
from tfopt.keras_model.walk import Weight, walk_weights
from tfopt.pruning import masks

# Layer class -> the weights of it that are pruned by default; a class takes those of the nearest class it derives from.
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
    """A weight that is pruned."""

    weight: Weight

    @property
    def name(self):
        """Layers and own name, such as `encoder/dense_1/kernel`."""
        return self.weight.name

    @property
    def layer_name(self):
        """Names of the layers around it."""
        return self.weight.layer_name

    @property
    def variable(self):
        """The variable."""
        return self.weight.variable

    @property
    def size(self):
        """How many weights it has."""
        return int(np.prod(self.variable.shape))

    def matrix(self):
        """Its value as a matrix (inputs, outputs) in float32."""
        value = np.asarray(self.variable.numpy()).astype("float32")
        if not np.isfinite(value).all():
            raise errors.PruningError(f"weights must be finite to be pruned. Received: NaN or infinity in {self.name}.")
        return masks.to_matrix(value, self.inputs)

    def unmatrix(self, matrix):
        """A matrix in the shape of the variable."""
        return masks.from_matrix(matrix, tuple(self.variable.shape), self.inputs)

    @property
    def inputs(self):
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


def find_targets(model, pattern, include=None, exclude=None, plan=None, frozen=True):
    """The weights to prune.

    Args:
        model: a built Keras 3 or Keras 2 model.
        pattern: `Unstructured`, `Block` or `NByM`.
        include, exclude: as for `PruningCallback`.
        plan: None or dict of layer name -> sparsity: only these layers are pruned.
        frozen: bool, whether weights that do not train are pruned without being asked for.

    Returns:
        (list of `Target`, dict of the names of all other weights of rank 2 and more -> reason).

    Raises:
        ArgumentError: a selector matches nothing, the pattern does not fit what was asked for, or nothing is left.
    """
    weights = [weight for weight in walk_weights(model) if len(weight.variable.shape) >= 2]
    included, excluded = select_weights(weights, include, exclude)
    heads = {id(getattr(layer, "layer", layer)) for layer in output_layers(model)}  # what a wrapper wraps
    if plan is not None:
        unknown = sorted(set(plan) - {weight.layer_name for weight in weights})
        if unknown:
            names = sorted({weight.layer_name for weight in weights})
            raise errors.ArgumentError(f"a plan must name layers of the model. Received: {unknown}. There are: {', '.join(names)}.")
    targets, left = [], {}
    for weight in weights:
        asked = id(weight) in included or (plan is not None and weight.layer_name in plan)
        reason = None
        if id(weight) in excluded:
            reason = "excluded"
        elif "float" not in _dtype(weight.variable):
            reason = f"its dtype is {_dtype(weight.variable)}"
        elif getattr(weight.layers[-1], "lora_enabled", False):
            reason = "LoRA fills its zeros when the model is saved"
        elif plan is not None and weight.layer_name not in plan:
            reason = "not in the plan"
        elif include is not None and id(weight) not in included:
            reason = "not included"
        elif not asked:
            reason = _reason_against(weight, heads, frozen)
        if reason is None:
            target = Target(weight)
            misfit = pattern.misfit(target.matrix().shape)
            if misfit and asked:
                raise errors.ArgumentError(f"{pattern} must fit every weight that is asked for. Received: {weight.name}: {misfit}.")
            if not misfit:
                targets.append(target)
                continue
            reason = misfit
        left[weight.name] = reason
    if not targets:
        found = "; ".join(f"{name}: {reason}" for name, reason in left.items()) or "it has no weights of rank 2 or more"
        raise errors.ArgumentError(f"the model must have weights to prune. Received: {describe(model)}, where {found}.")
    return targets, left


def _reason_against(weight, heads, frozen):
    layer = weight.layers[-1]
    kind = _table_class(layer, {**KERNELS, **_ON_DEMAND})
    if not frozen and not weight.variable.trainable:
        return "it is frozen; include it to prune it"
    if kind in _ON_DEMAND:
        return f"{_ON_DEMAND[kind]}; include it to prune it"
    if weight.kind == "depthwise_kernel":
        return "a depthwise kernel; include it to prune it"
    if kind is None or weight.kind not in KERNELS[kind]:
        return f"a {weight.kind} of {type(layer).__name__}; include it to prune it"
    if id(layer) in heads:
        return "the output layer; include it to prune it"
    return None


def _table_class(layer, table):
    return next((kind.__name__ for kind in type(layer).__mro__ if kind.__name__ in table), None)


def _dtype(variable):
    return getattr(variable.dtype, "name", variable.dtype)
