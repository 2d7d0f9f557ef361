"""`QuantizeWrapper`: any layer, with its weights rounded in every call and what it computes inside rounded as in the file."""

import keras

from tfopt.keras_model.patch import replaced_attributes
from tfopt.quantization import simulate, weights
from tfopt.quantization.fake_quantize import FakeQuantize, fake_quantize_weight, weight_scale
from tfopt.quantization.layer_kinds import is_recurrent


@keras.saving.register_keras_serializable("tfopt")
class QuantizeWrapper(keras.layers.Layer):
    """Calls a layer with its weights rounded to int8 (straight-through gradient); the float weights are what trains.

    `w -> scale round(w / scale)`, `scale = max |w| / (2^(bits - 1) - 1)` along the axes that `weights.grids` tells.

    Example:

    ```python
    layer = QuantizeWrapper(keras.layers.Dense(10))
    y = layer(x)
    ```

    Args:
        layer: a Keras 3 layer or model.
        weight_bits: int, 8 or 4.
        activation_bits: int, 8.
        ranges: as for `FakeQuantize`.
        quantizers: list of (key, fixed range or None), the inner tensors that are rounded, as `find_quantizers` finds them.
        neighbours: None or a pair of names: of the `FakeQuantize` layer that rounds what comes in, and of the BatchNormalization
            behind, or None. In the file the bias, with the normalization in it, is an int32 in steps of the scale of the input
            times that of the weights; with both known it is rounded to these, outside of training.
        unrounded: which of the tensors that come in, counted from 0, were not rounded before.

    Call arguments:
        as those of `layer`.
    """

    def __init__(
        self,
        layer,
        weight_bits=8,
        activation_bits=8,
        ranges="moving_average",
        quantizers=(),
        neighbours=None,
        unrounded=(),
        **kwargs,
    ):
        super().__init__(**{"name": layer.name, "dtype": layer.dtype_policy, **kwargs})
        self.layer = layer
        self.weight_bits, self.activation_bits, self.ranges = weight_bits, activation_bits, ranges
        self.supports_masking = True
        self.quantizers = {}
        self._add_quantizers(quantizers)
        self.neighbours = neighbours and tuple(neighbours)
        self.unrounded = tuple(unrounded)
        self._found = None
        self.rounds_outputs = False
        self._is_baked = False
        self._met = None
        self.built = True  # the layer inside builds itself when it is called

    def call(self, *args, training=None, **kwargs):
        mapping, shift = [], None
        if not self._is_baked:
            mapping = self._rounded()
            if not training and self._met:
                mapping, shift = self._with_bias(mapping, *self._met())
        elif is_recurrent(self.layer):
            args, kwargs = keras.tree.map_structure(simulate.detached, (args, kwargs))
        given = {id(variable) for variable, _ in mapping}
        simulation = simulate.Simulation(self._quantize, self._is_baked)
        incoming = enumerate(keras.tree.flatten((args, kwargs)))
        simulation.mark([tensor for index, tensor in incoming if index not in self.unrounded])
        scope = keras.StatelessScope(state_mapping=mapping, collect_losses=True)
        with scope, replaced_attributes(simulation.replacements(self.layer)):
            outputs = self.layer(*args, **kwargs)
        if shift is not None:
            outputs += keras.ops.cast(shift, outputs.dtype)
        if self._found is not None:
            self.rounds_outputs = simulation.is_rounded(outputs)
        # Statistics, seeds and ranges that the call moved: here, as replicas may meet at an assignment.
        for variable in self.variables:
            value = scope.get_current_value(variable)
            if value is not None and id(variable) not in given:
                variable.assign(value)
        for loss in scope.losses:
            self.add_loss(loss)
        return outputs

    def find_quantizers(self, args, kwargs, limit=lambda name, fixed: fixed):
        """Finds the inner tensors to be rounded by a symbolic call, before the first real one.

        Args:
            args, kwargs: what the layer is called with, as `keras.KerasTensor`s.
            limit: function of a quantizer's name and its fixed range or None that returns the latter, or another range.

        Returns:
            bool, whether all that leaves the layer is rounded already.
        """
        self._found = {}
        self.compute_output_spec(*args, **kwargs)
        self._add_quantizers((key, limit(f"{self.name}/{_own(key)}", fixed)) for key, fixed in self._found.items())
        self._found = None
        return self.rounds_outputs

    def meet(self, layers):
        """Finds the neighbours among `layers`, a dict by name."""
        if self.neighbours and self.neighbours[0] in layers:
            found = tuple(layers.get(name) for name in self.neighbours)
            self._met = lambda: found  # a function, as they are no part of this layer

    def bake(self):
        """Writes the rounded weights into the layer's own, which are not rounded again from now on."""
        for variable, value in self._rounded():
            variable.assign(value)
        self._is_baked = True

    def get_config(self):
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.layer),
            "weight_bits": self.weight_bits,
            "activation_bits": self.activation_bits,
            "ranges": self.ranges,
            "neighbours": self.neighbours,
            "unrounded": self.unrounded,
            "quantizers": [[key, quantizer.ranges if isinstance(quantizer.ranges, tuple) else None]
                           for key, quantizer in self.quantizers.items()],
        }  # fmt: skip

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})

    def get_build_config(self):
        return None  # the layer inside brings its own

    def _with_bias(self, mapping, quantizer, normalization):
        """(mapping with the bias rounded, or what to add to the output of a layer that has none)."""
        import tensorflow as tf

        grid = next(grid for weight, grid in weights.grids(self.layer) if isinstance(grid, weights.Grid))
        scale = tf.reshape(weight_scale(self.layer.kernel, grid.axes, self.weight_bits), [-1])
        step = scale * quantizer.scale()
        bias = self.layer.bias if self.layer.use_bias else None
        shift = tf.zeros_like(step) if bias is None else tf.convert_to_tensor(bias)
        if normalization is not None:
            deviation = tf.sqrt(normalization.moving_variance + normalization.epsilon)
            center = normalization.beta if normalization.center else 0.0
            factor = normalization.gamma if normalization.scale else 1.0
            shift += tf.math.divide_no_nan(center * deviation, factor) - normalization.moving_mean
        error = tf.where(step > 0.0, tf.round(tf.math.divide_no_nan(shift, step)) * step - shift, 0.0)
        return (mapping, error) if bias is None else ([*mapping, (bias, bias + error)], None)

    def _rounded(self):
        return [
            (weight.variable, fake_quantize_weight(weight.variable.value, grid.axes, self.weight_bits, grid.groups))
            for weight, grid in weights.grids(self.layer)
            if isinstance(grid, weights.Grid)
        ]

    def _add_quantizers(self, quantizers):
        for key, fixed in quantizers:
            self.quantizers[key] = FakeQuantize(self.activation_bits, fixed or self.ranges, name=_own(key))

    def _quantize(self, key, tensor, fixed):
        if self._found is not None:
            self._found[key] = fixed
        return self.quantizers[key](tensor) if key in self.quantizers else tensor


def _own(key):
    return key.replace("/", "_")
