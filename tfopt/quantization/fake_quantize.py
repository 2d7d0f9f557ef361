"""`FakeQuantize`: rounds a tensor to the integers it will have in the file, and follows or learns the range of these."""

import contextlib
import contextvars

import keras

from tfopt.errors import ArgumentError

RANGES = ("moving_average", "learned")
# Batches that pass while it is set widen the ranges and are not rounded: see `calibrate`.
_OBSERVING = contextvars.ContextVar("observing", default=False)
_TINY = 1e-7


@contextlib.contextmanager
def observing():
    """While it lasts, `FakeQuantize` layers take in the whole range of what passes and let it through as it is."""
    token = _OBSERVING.set(True)
    try:
        yield
    finally:
        _OBSERVING.reset(token)


@keras.saving.register_keras_serializable("tfopt")
class FakeQuantize(keras.layers.Layer):
    """Rounds its input to an asymmetric grid of `2^bits` values; the gradient passes where the input is inside the range.

    `y = scale (clip(round(x / scale) + zero_point, 0, 2^bits - 1) - zero_point)`, `scale = (max - min) / (2^bits - 1)`,
    `zero_point = round(-min / scale)`; the range is widened to hold 0. Before the first batch there is none, and the input passes
    as it is.

    Example:

    ```python
    layer = FakeQuantize()
    layer(x, training=True)     # the range is now that of x
    layer(x)                    # x on 256 levels
    ```

    Args:
        bits: int, 2 to 16.
        ranges: "moving_average": of each batch's minimum and maximum, `r <- momentum r + (1 - momentum) batch`, beginning with the
            first batch's; "learned": the ends are weights, trained by gradient (LSQ+, Bhalgat et al., arXiv:2004.09576), beginning
            with the first batch's; or a pair of floats, which stays.
        momentum: float in [0, 1).
        is_input: bool, whether NaN or infinity in training is an error (XLA leaves such tests out); elsewhere they move no range.

    Call arguments:
        inputs: float tensor of any shape; other dtypes pass as they are.
        training: bool. Ranges move in training only, and not while `trainable` is False.
        observe: bool, whether this call moves the range at all.

    Source: Jacob et al., arXiv:1712.05877; straight-through gradient: Bengio et al., arXiv:1308.3432.
    """

    def __init__(self, bits=8, ranges="moving_average", momentum=0.99, is_input=False, **kwargs):
        super().__init__(**{"autocast": False, **kwargs, "dtype": "float32"})
        self.bits, self.momentum, self.is_input = bits, momentum, is_input
        self.ranges = tuple(float(end) for end in ranges) if isinstance(ranges, list | tuple) else ranges
        self.supports_masking = True
        self._is_open = False
        self._constant = (min(*self.ranges, 0.0), max(*self.ranges, 0.0)) if isinstance(self.ranges, tuple) else None
        if self._constant is None:
            if ranges not in RANGES:
                raise ArgumentError(f"`ranges` must be one of {', '.join(RANGES)}, or a pair of floats. Received: {ranges!r}.")
            # Replicas see different batches: each assignment is averaged over them.
            common = {"shape": (), "dtype": "float32", "autocast": False, "aggregation": "mean"}
            learned = ranges == "learned"
            self.minimum = self.add_weight(name="minimum", initializer="zeros", trainable=learned, **common)
            self.maximum = self.add_weight(name="maximum", initializer="zeros", trainable=learned, **common)
            self.seen = self.add_weight(name="seen", initializer="zeros", trainable=False, **common)
        self.built = True

    @property
    def range(self):
        """(minimum, maximum) as floats; None before any batch has passed."""
        if self._constant is not None:
            return self._constant
        seen, low, high = (float(keras.ops.convert_to_numpy(each)) for each in (self.seen, self.minimum, self.maximum))
        return (min(low, 0.0), max(high, 0.0)) if seen else None

    def scale(self):
        """The step of the grid, a scalar tensor; 0 while there is no range."""
        import tensorflow as tf

        low, high = self._constant if self._constant is not None else (self.minimum, self.maximum)
        return (tf.maximum(high, 0.0) - tf.minimum(low, 0.0)) / (2.0**self.bits - 1.0)

    def bake(self):
        """The range becomes a constant of what is traced from now on: the form in which a model is exported."""
        self._constant = self.range
        self._is_open = self._constant is None

    def call(self, inputs, training=False, observe=True):
        import tensorflow as tf

        if not inputs.dtype.is_floating or self._is_open:
            return inputs
        x = tf.cast(inputs, "float32")
        if self._constant is not None:
            outputs = tf.quantization.fake_quant_with_min_max_vars(x, *self._constant, num_bits=self.bits)
        elif _OBSERVING.get():
            if observe:
                self._widen(x)
            return inputs
        elif training and observe and self.trainable:
            if self.is_input:
                name = self.name.removesuffix("_quantize")
                x = tf.debugging.check_numerics(x, f"NaN or infinite values in the input {name!r}: find them with np.isfinite")
            outputs = self._learn(x) if self.ranges == "learned" else self._follow(x)
        else:
            outputs = tf.cond(tf.equal(self.seen.value, 0.0), lambda: x, lambda: self._round(x, self.minimum, self.maximum))
            outputs.set_shape(x.shape)
        return tf.cast(outputs, inputs.dtype)

    def compute_output_spec(self, inputs, training=False, observe=True):
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "bits": self.bits,
            "ranges": self.ranges,
            "momentum": self.momentum,
            "is_input": self.is_input,
        }

    def _follow(self, x):
        import tensorflow as tf

        low, high, usable, seen = self._batch(x)
        momentum = self.momentum * seen
        low = tf.where(usable, momentum * self.minimum + (1.0 - momentum) * low, self.minimum)
        high = tf.where(usable, momentum * self.maximum + (1.0 - momentum) * high, self.maximum)
        self._assign(low, high, usable, seen)
        return self._round(x, low, high)

    def _learn(self, x):
        import tensorflow as tf

        low, high, usable, seen = self._batch(x)
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
        return scale * (tf.clip_by_value(_round_through(x / scale) + zero, 0.0, levels) - zero)

    def _widen(self, x):
        import tensorflow as tf

        low, high, usable, seen = self._batch(x)
        low = tf.where(usable, tf.minimum(low, self.minimum), self.minimum)
        high = tf.where(usable, tf.maximum(high, self.maximum), self.maximum)
        self._assign(low, high, usable, seen)

    def _batch(self, x):
        """(minimum, maximum, whether they are a range, whether there was one before) of a batch."""
        import tensorflow as tf

        x = tf.stop_gradient(x)
        low, high = tf.minimum(tf.reduce_min(x), 0.0), tf.maximum(tf.reduce_max(x), 0.0)
        usable = tf.logical_and(tf.math.is_finite(high - low), high > low)
        return low, high, usable, tf.cast(self.seen.value > 0.0, "float32")

    def _assign(self, low, high, usable, seen):
        import tensorflow as tf

        self.minimum.assign(low)
        self.maximum.assign(high)
        self.seen.assign(tf.maximum(seen, tf.cast(usable, "float32")))

    def _round(self, x, low, high):
        import tensorflow as tf

        low, high = (tf.stop_gradient(tf.convert_to_tensor(end)) for end in (low, high))
        low, high = tf.minimum(low, 0.0), tf.maximum(high, 0.0)
        return tf.quantization.fake_quant_with_min_max_vars(x, low, tf.maximum(high, low + _TINY), num_bits=self.bits)


def weight_scale(weight, axes, bits):
    """`max |w| / (2^(bits - 1) - 1)` over all axes of a float32 tensor but `axes`, in a shape that broadcasts to it."""
    import tensorflow as tf

    kept = {axis % len(weight.shape) for axis in axes}
    others = [axis for axis in range(len(weight.shape)) if axis not in kept]
    return tf.reduce_max(tf.abs(weight), others, keepdims=True) / (2.0 ** (bits - 1) - 1.0)


def fake_quantize_weight(weight, axes, bits, groups=1):
    """A weight on its symmetric grid; its gradient passes as if it were not rounded.

    Args:
        weight: float tensor.
        axes: tuple of int, the axes along which scales differ.
        bits: int, 2 to 8.
        groups: int, equal parts of the last axis that share one scale each, as the gates of an LSTM; with it `axes` is empty.
    """
    import tensorflow as tf

    whole = tf.cast(weight, "float32")
    grouped = tf.reshape(whole, (*whole.shape[:-1], groups, -1)) if groups > 1 else whole
    scale = weight_scale(grouped, (-2,) if groups > 1 else axes, bits)
    rounded = tf.reshape(tf.round(tf.math.divide_no_nan(grouped, scale)) * scale, whole.shape)
    return tf.cast(whole + tf.stop_gradient(rounded - whole), weight.dtype)


def _round_through(x):
    import tensorflow as tf

    return x + tf.stop_gradient(tf.round(x) - x)
