"""`QuantizeWrapper`: any layer, with its weights and the tensors inside it rounded in every call as in the file."""

from __future__ import annotations

import collections
import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import describe, told_by
from tfopt.keras_model.patch import replaced_attributes
from tfopt.keras_model.walk import walk_layers
from tfopt.quantization import weights
from tfopt.quantization.fake_quantize import FakeQuantize
from tfopt.quantization.in_graph import InGraph
from tfopt.quantization.inside.decompositions import DIVISORS
from tfopt.quantization.inside.operations import computes_itself, is_own
from tfopt.quantization.inside.places import leaves, places
from tfopt.quantization.inside.simulation import Simulation
from tfopt.quantization.observing import is_observing

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.weights import Weight
    from tfopt.quantization.fake_quantize import Range, RangeRule
    from tfopt.quantization.inside.places import Pair
    from tfopt.quantization.inside.simulation import Tensors

    Values = list[tuple[keras.Variable, tf.Tensor]]  # variables with the values that stand in for their own
    Limit = Callable[[str, Range | None], Range | None]
    # (outputs, losses, number of a variable whose value changed -> its value)
    Computed = tuple[Tensors, list[tf.Tensor], dict[int, tf.Tensor]]


_SIZE = 16


def _no_limit(name: str, fixed: Range | None) -> Range | None:
    return fixed


@keras.saving.register_keras_serializable("tfopt")
class QuantizeWrapper(keras.layers.Layer):
    """Calls a layer with its weights rounded to int8 (straight-through gradient); the float weights are the ones that train.

    `w -> scale round(w / scale)`, `scale = max |w| / (2^(bits - 1) - 1)` along the axes that `weights.grids` lists.

    Example:

    ```python
    layer = QuantizeWrapper(keras.layers.Dense(10))
    y = layer(x)
    ```

    Args:
        layer: a Keras 3 layer or model.
        weight_bits: 8 (default) or 4.
        activation_bits: 8.
        ranges: as for `FakeQuantize`.
        quantizers: (key, fixed range or None) of each tensor inside the layer that is rounded, as `find_quantizers` finds them.
        unrounded: numbers of the input tensors, counted from 0, that nothing has rounded before.
        left_out: places of the layers inside `layer` that stay float, as `places.leaves` names them.
        folded: places of the BatchNormalization layers inside `layer` that the converter multiplies into the weights before them.

    Call arguments:
        the same as those of `layer`.

    Attributes:
        layer: the layer inside.
        quantizers: dict of key -> `FakeQuantize` of a tensor inside.
        rounds_outputs: whether rounding is the last operation on each output; known after `find_quantizers`.
        constants: arguments of every call that are no tensors. Keras does not let a layer of any signature take both (3.15).
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        weight_bits: int = 8,
        activation_bits: int = 8,
        ranges: RangeRule | Range = "moving_average",
        quantizers: Iterable[tuple[str, Range | None]] = (),
        unrounded: Sequence[int] = (),
        left_out: Sequence[str] = (),
        folded: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"name": layer.name, "dtype": layer.dtype_policy, **kwargs})
        self.layer: keras.layers.Layer = layer
        self.weight_bits: int = weight_bits
        self.activation_bits: int = activation_bits
        self.ranges: RangeRule | Range = ranges
        self.supports_masking = True
        self.quantizers: dict[str, FakeQuantize] = {}
        self._add_quantizers(quantizers)
        self.unrounded: tuple[int, ...] = tuple(unrounded)
        self.left_out: tuple[str, ...] = tuple(left_out)
        self.folded: tuple[str, ...] = tuple(folded)
        self.rounds_outputs: bool = False
        self.constants: dict[str, Any] = {}
        self._found: dict[str, Range | None] | None = None
        self._pairs: list[Pair] = []
        self._own: Mapping[str, Range | None] | None = {}
        self._in_graph = InGraph()
        self._is_baked = False
        self.built = True  # the layer inside builds itself when it is called

    def call(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Tensors:
        """The outputs of the layer inside."""
        import tensorflow as tf

        # A tape takes the rounded output for that of the operation, and leaves rounding out of the gradient, unless the operations
        # are in a function of their own.
        is_found = self._found is None and self._own is not None
        if is_found and (training or tf.executing_eagerly()) and self._computes_itself():
            # What may change between calls decides what is traced.
            traits = training, self._is_baked, is_observing(), tuple(each.trainable for each in walk_layers(self))
            outputs, losses, moved = self._in_graph(functools.partial(self._compute, training=training), args, kwargs, traits)
        else:
            outputs, losses, moved = self._compute(args, kwargs, training)
        # They are assigned outside of a function, as an assignment may make replicas wait for each other.
        for number, value in moved.items():
            self.variables[number].assign(value)
        for loss in losses:
            self.add_loss(loss)
        return outputs

    def _computes_itself(self) -> bool:
        """Whether operations of the layer inside, or of one inside it, are seen."""
        return any(computes_itself(each) for each in (self.layer, *(inner for _, inner in places(self.layer))))

    def _compute(self, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool | None) -> Computed:
        """The outputs of the layer inside, its losses, and the variables that the call moved."""
        import tensorflow as tf

        mapping = self.rounded()
        given = {id(variable) for variable, _ in mapping}
        own = None if self._own is None else [key for key in (*self._own, *self.quantizers) if is_own(key)]
        simulation = Simulation(self._quantize, self._is_baked, own, self.folded)
        incoming = enumerate(keras.tree.flatten((args, kwargs)))
        simulation.mark_rounded([tensor for index, tensor in incoming if index not in self.unrounded])
        scope = keras.StatelessScope(state_mapping=mapping, collect_losses=True)
        seen = simulation.operations.watched() if self._computes_itself() else contextlib.nullcontext()
        with scope, seen, replaced_attributes(simulation.replacements(self.layer, self.left_out)):
            outputs = simulation.apart(self.layer, self.layer)(*args, **kwargs, **self.constants)
        if self._own is None:
            self._own = simulation.operations.plan([each for each in keras.tree.flatten(outputs) if tf.is_tensor(each)])
        elif self._found is not None:
            self.rounds_outputs = simulation.is_rounded(outputs)
            pairs = [each for each in simulation.pairs if len(each.tensor.consumers()) == 1]
            counts = collections.Counter(each.key for each in pairs)
            self._pairs = [each for each in pairs if counts[each.key] == simulation.counts[each.key]]
        values = {number: scope.get_current_value(variable) for number, variable in enumerate(self.variables)
                  if id(variable) not in given}  # fmt: skip
        return outputs, list(scope.losses), {number: value for number, value in values.items() if value is not None}

    def find_quantizers(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], limit: Limit = _no_limit) -> bool:
        """Finds the tensors inside the layer to be rounded, by a symbolic call before the first real one.

        Args:
            args, kwargs: arguments of the layer's call, with `keras.KerasTensor`s for tensors.
            limit: function of a quantizer's name and its fixed range or None; it returns this range or another one.

        Returns:
            Whether rounding is the last operation on each output.
        """
        try:
            self._find(args, kwargs)
        except Exception as error:  # the caller's own code, or Keras about it
            try:  # a layer that tells Keras the shapes of its outputs may need more than open sizes to compute
                self._find(*keras.tree.map_structure(_sized, (args, kwargs)))
            except Exception:
                raise ArgumentError(
                    "Each layer must run on inputs of open sizes, so that the tensors inside it can be found and rounded. "
                    f"Received: {describe(self.layer)}: {told_by(error)} Leave it out with exclude={self.layer.name!r}, so that it "
                    "stays float."
                ) from error
        found = self._unpaired(self._found or {})
        self._add_quantizers((key, limit(f"{self.name}/{_own_name(key)}", fixed)) for key, fixed in found.items())
        self._found, self._own = None, {}
        return self.rounds_outputs

    def _unpaired(self, found: Mapping[str, Range | None]) -> dict[str, Range | None]:
        """The tensors that are left in the file once it computes two layers inside together."""
        pairs, self._pairs = self._pairs, []
        together = {each.key for each in pairs if found.get(each.key) is None}
        self.folded = tuple(dict.fromkeys(each.path for each in pairs if each.is_normalization and each.key in together))
        together |= {f"{path}/scaled" for path in self.folded}
        return {key: fixed for key, fixed in found.items() if key not in together}

    def _find(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self._computes_itself():
            self._own = None  # until the first call has found it out
            super().compute_output_spec(*args, **kwargs)
        self._found = {}
        super().compute_output_spec(*args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Tensors:
        """The shapes and dtypes of the outputs, which are those of the layer inside."""
        return self.layer.compute_output_spec(*args, **kwargs, **self.constants)

    def compute_mask(self, inputs: Tensors, previous_mask: Tensors) -> Tensors:
        """The mask that the layer inside hands on; None if it hands on none."""
        if not self.layer.supports_masking or not inputs:
            return None
        # Keras takes the arguments of `call` for one; the mask is given as it is if the caller gave it.
        mask = previous_mask[0] if isinstance(previous_mask, tuple) else previous_mask
        return self.layer.compute_mask(inputs[0], mask)

    def bake(self) -> None:
        """Writes the rounded weights into the layer's own, which are not rounded again from now on."""
        for variable, value in self.rounded():
            variable.assign(value)
        self._is_baked = True

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, the layer inside included."""
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.layer),
            "weight_bits": self.weight_bits,
            "activation_bits": self.activation_bits,
            "ranges": self.ranges,
            "unrounded": self.unrounded,
            "left_out": self.left_out,
            "folded": self.folded,
            "quantizers": [[key, quantizer.ranges if isinstance(quantizer.ranges, tuple) else None]
                           for key, quantizer in self.quantizers.items()],
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> QuantizeWrapper:
        """A wrapper with a layer of its own; files of earlier versions name neighbors, which are not needed any more."""
        given = {name: value for name, value in config.items() if name != "neighbors"}
        return cls(**{**given, "layer": keras.saving.deserialize_keras_object(config["layer"])})

    def get_build_config(self) -> None:
        """None: the layer inside saves its own."""
        return

    def rounded(self) -> Values:
        """The weights that become integers, with their rounded values; none after `bake`."""
        if self._is_baked:
            return []
        return [
            (weight.variable, weights.fake_quantize_weight(weight.variable.value, grid.axes, self.weight_bits, grid.groups))
            for weight, grid in self.grids()
            if isinstance(grid, weights.Grid)
        ]

    def grids(self) -> list[tuple[Weight, weights.Grid | str]]:
        """`weights.grids` of the layer inside, without the layers in it that are left out."""
        floats = {id(leaf) for path, leaf in leaves(self.layer) if path in self.left_out}
        return [(weight, grid) for weight, grid in weights.grids(self.layer) if id(weight.layers[-1]) not in floats]

    def _add_quantizers(self, quantizers: Iterable[tuple[str, Range | None]]) -> None:
        for key, fixed in quantizers:
            is_divisor = key.rpartition("/")[2] in DIVISORS
            self.quantizers[key] = FakeQuantize(
                self.activation_bits, fixed or self.ranges, is_divisor=is_divisor, name=_own_name(key)
            )

    def _quantize(self, key: str, tensor: tf.Tensor, fixed: Range | None = None, /, *, observe: bool = True) -> tf.Tensor:
        if self._found is not None:
            self._found.setdefault(key, fixed)
        return self.quantizers[key](tensor, observe=observe) if key in self.quantizers else tensor


def _own_name(key: str) -> str:
    return key.replace("/", "_")


def _sized(value: Any) -> Any:
    """A symbolic tensor with some number in the place of each open size; anything else as it is."""
    if not isinstance(value, keras.KerasTensor):
        return value
    return keras.KerasTensor([size or _SIZE for size in value.shape], value.dtype)
