"""`FakeQuantize`: rounds a tensor to the integers that it will have in the file, and follows or learns their range."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import keras

from tfopt.errors import ArgumentError
from tfopt.quantization.inside.kernel_arithmetic import as_computed
from tfopt.quantization.inside.known_steps import note
from tfopt.quantization.observing import is_observing

if TYPE_CHECKING:
    import tensorflow as tf

Range = tuple[float, float]
"""The lowest and the highest value of a tensor that its integers stand for."""
RangeRule = Literal["moving_average", "learned"]
RANGES: tuple[RangeRule, ...] = ("moving_average", "learned")
_TINY = 1e-7
_BITS = 8  # of the kernels whose arithmetic is known


@keras.saving.register_keras_serializable("tfopt")
class FakeQuantize(keras.layers.Layer):
    """Rounds its input to an asymmetric grid of `2^bits` values; the gradient passes where the input is inside the range.

    `y = scale (clip(round(x / scale) + zero_point, 0, 2^bits - 1) - zero_point)`, `scale = (max - min) / (2^bits - 1)`,
    `zero_point = round(-min / scale)`; the range is widened to hold 0. Before the first batch there is no range, and the input
    passes unchanged.

    Example:

    ```python
    layer = FakeQuantize()
    layer(x, training=True)     # the range is now that of x
    layer(x)                    # x on 256 levels
    ```

    Args:
        bits: 2 to 16, by default 8.
        ranges: "moving_average" (default): the range follows the minimum and maximum of each batch, `r <- momentum r +
            (1 - momentum) batch`, and starts with those of the first batch; "learned": the ends of the range are weights that the
            gradient trains (LSQ+, Bhalgat et al., arXiv:2004.09576), and start with the first batch; or a pair (low, high), which
            stays.
        momentum: at least 0 and below 1, by default 0.99.
        is_input: whether NaN or infinity in training raises an error (XLA leaves out such checks). If not, NaN and infinity do not
            move the range.
        is_divisor: whether the reciprocal of the output is taken: 0 becomes one step. The kernel of RSQRT has no infinity either.

    Call arguments:
        inputs: float tensor of any shape; tensors of other dtypes pass unchanged.
        training: whether the range moves. It never moves while `trainable` is False.
        observe: whether this call may move the range at all.

    Attributes:
        minimum, maximum: float32 variables of shape (), the ends of the range. A constant range has none.
        seen: float32 variable of shape (), 1 once a batch has set the range, else 0. A constant range has none.

    Raises:
        ArgumentError: an argument is outside the values above.

    Source: Jacob et al., arXiv:1712.05877; straight-through gradient: Bengio et al., arXiv:1308.3432.
    """

    minimum: keras.Variable
    maximum: keras.Variable
    seen: keras.Variable

    def __init__(
        self,
        bits: int = 8,
        ranges: RangeRule | Sequence[float] = "moving_average",
        momentum: float = 0.99,
        is_input: bool = False,
        is_divisor: bool = False,
        **kwargs: Any,
    ) -> None:
        _check(bits, ranges, momentum, is_input)
        super().__init__(**{"autocast": False, **kwargs, "dtype": "float32"})
        self.bits: int = int(bits)
        self.momentum: float = float(momentum)
        self.is_input: bool = is_input
        self.is_divisor: bool = is_divisor
        self.ranges: RangeRule | Range = ranges if isinstance(ranges, str) else (float(ranges[0]), float(ranges[1]))
        self.supports_masking = True
        self._is_open = self._is_baked = False
        self._constant: Range | None = None if isinstance(self.ranges, str) else _with_zero(*self.ranges)
        if self._constant is None:
            # Replicas see different batches: each assignment is averaged over them.
            common = {"shape": (), "dtype": "float32", "autocast": False, "aggregation": "mean"}
            learned = ranges == "learned"
            self.minimum = self.add_weight(name="minimum", initializer="zeros", trainable=learned, **common)
            self.maximum = self.add_weight(name="maximum", initializer="zeros", trainable=learned, **common)
            self.seen = self.add_weight(name="seen", initializer="zeros", trainable=False, **common)
        self.built = True

    @property
    def range(self) -> Range | None:
        """(minimum, maximum); None before any batch has passed."""
        if self._constant is not None:
            return self._constant
        seen, low, high = (float(keras.ops.convert_to_numpy(each)) for each in (self.seen, self.minimum, self.maximum))
        return _with_zero(low, high) if seen else None

    def scale(self) -> tf.Tensor:
        """The step of the grid, a float32 tensor of shape (); 0 while there is no range."""
        import tensorflow as tf

        ends = self._constant if self._constant is not None else (self.minimum, self.maximum)
        # float64, as the converter computes it: the file's integers depend on the last bit
        low, high = (tf.cast(tf.convert_to_tensor(end, tf.float32), tf.float64) for end in ends)
        return tf.cast((tf.maximum(high, 0.0) - tf.minimum(low, 0.0)) / (2.0**self.bits - 1.0), tf.float32)

    def bake(self) -> None:
        """Makes the range a constant of all graphs that are traced from now on, as the export of a model needs it."""
        self._constant = self.range
        self._is_open, self._is_baked = self._constant is None, True

    def call(self, inputs: tf.Tensor, training: bool = False, observe: bool = True) -> tf.Tensor:
        """`inputs` on the grid, with its shape and dtype."""
        import tensorflow as tf

        if not inputs.dtype.is_floating or self._is_open:
            return inputs
        x = tf.cast(inputs, "float32")
        rounds_as_kernels = not self._is_baked and not training and not is_observing() and self.bits == _BITS
        if self._constant is not None:
            x = self._as_computed(x, observe) if rounds_as_kernels else x
            outputs = tf.quantization.fake_quant_with_min_max_vars(x, *self._constant, num_bits=self.bits)
        elif is_observing():
            if observe:
                self._widen(x)
            return tf.cast(self._positive(x, self.scale()), inputs.dtype)
        elif training and observe and self.trainable:
            if self.is_input:
                name = self.name.removesuffix("_quantize")
                x = tf.debugging.check_numerics(x, f"NaN or infinite values in the input {name!r}: find them with np.isfinite")
            outputs = self._learn(x) if self.ranges == "learned" else self._follow(x)
        else:
            computed = self._as_computed(x, observe) if rounds_as_kernels else x
            outputs = tf.where(tf.equal(self.seen.value, 0.0), x, self._round(computed, self.minimum, self.maximum))
        outputs = tf.cast(outputs, inputs.dtype)
        if rounds_as_kernels:
            step = tf.maximum(self.scale(), _TINY)
            low = tf.minimum(tf.convert_to_tensor(self._constant[0] if self._constant else self.minimum), 0.0)
            note(outputs, step, tf.floor(-low / step + 0.5) - 2.0 ** (self.bits - 1))
        return outputs

    def compute_output_spec(self, inputs: keras.KerasTensor, training: bool = False, observe: bool = True) -> keras.KerasTensor:
        """The shape and dtype of `inputs`."""
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "bits": self.bits,
            "ranges": self.ranges,
            "momentum": self.momentum,
            "is_input": self.is_input,
            "is_divisor": self.is_divisor,
        }

    def _as_computed(self, x: tf.Tensor, observe: bool) -> tf.Tensor:
        """`x` as a kernel has it before it rounds; an input already rounded by a division, as callers of the file do it.

        What is rounded without `observe` is no input, but an average of some.
        """
        step = self.scale()
        if not (self.is_input and observe):
            return as_computed(x, step)
        return x + keras.ops.stop_gradient(keras.ops.round(x / keras.ops.maximum(step, _TINY)) * step - x)

    def _follow(self, x: tf.Tensor) -> tf.Tensor:
        """`x` rounded in the moving average of the ranges, which takes in that of `x` first."""
        import tensorflow as tf

        low, high, usable, seen = self._extremes(x)
        momentum = self.momentum * seen
        low = tf.where(usable, momentum * self.minimum + (1.0 - momentum) * low, self.minimum)
        high = tf.where(usable, momentum * self.maximum + (1.0 - momentum) * high, self.maximum)
        self._assign(low, high, usable, seen)
        return self._round(x, low, high)

    def _learn(self, x: tf.Tensor) -> tf.Tensor:
        """`x` rounded in the learned range, through whose ends gradients pass."""
        import tensorflow as tf

        low, high, usable, seen = self._extremes(x)
        first = tf.logical_and(usable, tf.equal(seen, 0.0))
        low = tf.where(first, low, self.minimum)
        high = tf.where(first, high, self.maximum)
        self._assign(tf.stop_gradient(low), tf.stop_gradient(high), usable, seen)
        # LSQ+ scales the gradient of the ends, which sums over all elements, by 1 / sqrt(elements * levels).
        levels = 2.0**self.bits - 1.0
        share = tf.math.rsqrt(tf.cast(tf.size(x), "float32") * levels + _TINY)
        low, high = (end * share + tf.stop_gradient(end - end * share) for end in (low, high))
        low, high = tf.minimum(low, 0.0), tf.maximum(high, 0.0)
        scale = tf.maximum(high - low, _TINY) / levels
        zero = _round_through(-low / scale)
        return self._positive(scale * (tf.clip_by_value(_round_through(x / scale) + zero, 0.0, levels) - zero), scale)

    def _widen(self, x: tf.Tensor) -> None:
        """Widens the range to hold all of `x`."""
        import tensorflow as tf

        low, high, usable, seen = self._extremes(x)
        low = tf.where(usable, tf.minimum(low, self.minimum), self.minimum)
        high = tf.where(usable, tf.maximum(high, self.maximum), self.maximum)
        self._assign(low, high, usable, seen)

    def _extremes(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """(minimum of a batch, its maximum, whether the two are a range, 1.0 if a batch was seen before, else 0.0)."""
        import tensorflow as tf

        x = tf.stop_gradient(x)
        low, high = tf.minimum(tf.reduce_min(x), 0.0), tf.maximum(tf.reduce_max(x), 0.0)
        usable = tf.logical_and(tf.math.is_finite(high - low), high > low)
        return low, high, usable, tf.cast(self.seen.value > 0.0, "float32")

    def _assign(self, low: tf.Tensor, high: tf.Tensor, usable: tf.Tensor, seen: tf.Tensor) -> None:
        import tensorflow as tf

        self.minimum.assign(low)
        self.maximum.assign(high)
        self.seen.assign(tf.maximum(seen, tf.cast(usable, "float32")))

    def _round(self, x: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        low, high = (tf.stop_gradient(tf.convert_to_tensor(end)) for end in (low, high))
        low, high = tf.minimum(low, 0.0), tf.maximum(high, 0.0)
        high = tf.maximum(high, low + _TINY)
        rounded = tf.quantization.fake_quant_with_min_max_vars(x, low, high, num_bits=self.bits)
        return self._positive(rounded, (high - low) / (2.0**self.bits - 1.0))

    def _positive(self, x: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """`x`, of which the reciprocal can be taken if this is a divisor."""
        return keras.ops.maximum(x, keras.ops.stop_gradient(step)) if self.is_divisor else x


def _round_through(x: tf.Tensor) -> tf.Tensor:
    """`x` rounded, with the gradient of `x`."""
    import tensorflow as tf

    return x + tf.stop_gradient(tf.round(x) - x)


def _with_zero(low: float, high: float) -> Range:
    return min(low, 0.0), max(high, 0.0)


def _check(bits: object, ranges: object, momentum: object, is_input: object) -> None:
    if not isinstance(bits, numbers.Integral) or isinstance(bits, bool) or not 2 <= int(bits) <= 16:
        raise ArgumentError(f"`bits` must be an integer from 2 to 16. Received: bits={bits!r}.")
    is_rule = isinstance(ranges, str) and ranges in RANGES
    is_pair = isinstance(ranges, list | tuple) and len(ranges) == 2 and all(map(_is_number, ranges)) and ranges[0] < ranges[1]
    if not (is_rule or is_pair):
        raise ArgumentError(
            f"`ranges` must be one of {', '.join(RANGES)}, or a pair of finite numbers (low, high) with low < high. "
            f"Received: ranges={ranges!r}."
        )
    if not (_is_number(momentum) and 0 <= momentum < 1):
        raise ArgumentError(f"`momentum` must be a number of at least 0 and below 1. Received: momentum={momentum!r}.")
    if not isinstance(is_input, bool):
        raise ArgumentError(f"`is_input` must be True or False. Received: is_input={is_input!r}.")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
