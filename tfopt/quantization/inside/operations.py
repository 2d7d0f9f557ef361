"""`OwnOperations`: the operations that layers of the caller's own compute in their `call`, rounded one by one."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfopt.quantization.inside import rounding_plan
from tfopt.quantization.inside.masked_softmax import above_level, without_mask
from tfopt.quantization.inside.rounding_plan import JOINED, MOVED_INPUT, Seen

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.quantization.fake_quantize import Range

OWN = "own"
"""The part of a key that tells the tensors of operations from those of layers."""


def computes_itself(layer: keras.layers.Layer) -> bool:
    """Whether the `call` of a layer is the caller's own, not derived from a layer of Keras that computes something."""
    kinds = [kind for kind in type(layer).__mro__ if kind.__module__.startswith("keras.")]
    plain = (keras.layers.Layer, keras.Model)
    return not type(layer).__module__.startswith("keras.") and bool(kinds) and kinds[0] in plain


def is_own(key: str) -> bool:
    """Whether a key is that of an operation's output."""
    return OWN in key.split("/")


class OwnOperations:
    """Sees each operation that is added to a graph while the `call` of a layer of the caller's own runs.

    Args:
        round_tensor: function of a key and a tensor that rounds it, of the range that TFLite gives it or None, and of `observe`.
        key_of: function of a tensor that returns the key of what rounded it, or None if it is not rounded.
        mark: function of a tensor and a key that takes note that the tensor is rounded.
        apart: function of a tensor that returns one which the converter does not know to be rounded; None before ranges are
            constants.
        keys: the tensors to be rounded; None to find out which ones they are.
    """

    def __init__(
        self,
        round_tensor: Callable[..., tf.Tensor],
        key_of: Callable[[tf.Tensor], str | None],
        mark: Callable[[tf.Tensor, str], None],
        apart: Callable[[tf.Tensor], tf.Tensor] | None,
        keys: Collection[str] | None,
    ) -> None:
        self._round, self._key_of, self._mark, self._apart, self._keys = round_tensor, key_of, mark, apart, keys
        self._frames: list[_Frame | None] = []
        self._seen: list[Seen] = []

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Inside this context, operations are seen."""
        from tensorflow.python.framework import op_callbacks  # no public name (TensorFlow 2.21)

        op_callbacks.add_op_callback(self._added)
        try:
            yield
        finally:
            op_callbacks.remove_op_callback(self._added)

    def inside(self, path: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` of a layer of the caller's own, whose operations are seen.

        Args:
            path: the layer's place in the layer around it; empty if it stands alone.
            call: a function of the layer's arguments that returns its outputs.
        """
        return self._framed(call, lambda: _Frame(path))

    def outside(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` of a layer whose operations are not seen."""
        return self._framed(call, lambda: None)

    def plan(self, outputs: Sequence[tf.Tensor]) -> Mapping[str, Range | None]:
        """Key of each tensor that is to be rounded -> the range that TFLite gives it, or None; `outputs` are the layer's."""
        return rounding_plan.plan(self._seen, outputs)

    def again(self, rounded: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
        """A tensor with the integers of one that was rounded; in front of the converter, it is rounded like that one."""
        key = self._key_of(rounded)
        return self._round(key, tensor, None, observe=False) if key and self._apart is not None else tensor

    def _framed(self, call: Callable[..., Any], frame: Callable[[], _Frame | None]) -> Callable[..., Any]:
        def framed(*args: Any, **kwargs: Any) -> Any:
            self._frames.append(frame())
            try:
                return call(*args, **kwargs)
            finally:
                self._frames.pop()

        return framed

    def _added(
        self,
        kind: str,
        inputs: Sequence[tf.Tensor],
        attributes: Sequence[Any],
        outputs: Sequence[tf.Tensor],
        op_name: str | None = None,
        graph: tf.Graph | None = None,
    ) -> Sequence[tf.Tensor] | None:
        """The tensors that take the place of an operation's outputs; None for these themselves."""
        frame = self._frames[-1] if self._frames else None
        if frame is None or graph is None or graph is not frame.graph or not outputs or not outputs[0].dtype.is_floating:
            return None  # integers, as of shapes, are computed or known in advance from call to call
        key = frame.key(kind)
        if self._keys is None:
            self._seen.append(Seen(key, outputs[0].op))
            return None
        if kind in MOVED_INPUT and inputs:
            rounded = self._key_of(inputs[MOVED_INPUT[kind]])
            if rounded is not None:
                for output in outputs:
                    self._mark(output, rounded)
            return None
        if kind in rounding_plan.AVERAGING and self._key_of(inputs[0]):
            return [self._round(self._key_of(inputs[0]), outputs[0], None, observe=False)]
        if key not in self._keys:
            return None
        (output,) = outputs
        if kind == "Softmax":
            output = self._masked_softmax(key, inputs[0], output)
        if kind in JOINED and self._apart is not None:
            output = self._join(kind, inputs, outputs[0], key)
        return [self._round(key, output, rounding_plan.FIXED.get(kind))]

    def _masked_softmax(self, key: str, scores: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """The softmax `output` of scores that were masked on the way, as the file computes it; of other scores, as it is."""
        import tensorflow as tf

        def quantize(name: str, tensor: tf.Tensor, fixed: Range | None = None, /, *, observe: bool = True) -> tf.Tensor:
            return self._round(f"{key}/{name}", tensor, fixed, observe=observe)

        scores, keep = without_mask(quantize, scores)
        return output if keep is None else tf.nn.softmax(above_level(quantize, self.again, scores, keep))

    def _join(self, kind: str, inputs: Sequence[tf.Tensor], output: tf.Tensor, key: str) -> tf.Tensor:
        """The same tensors joined, each of them rounded before, as the file joins integers of one scale."""
        import tensorflow as tf

        assert self._apart is not None
        parts = inputs[:-1] if kind == "ConcatV2" else inputs
        parts = [self._round(key, each if self._key_of(each) is None else self._apart(each), None) for each in parts]
        return tf.concat(parts, inputs[-1]) if kind == "ConcatV2" else tf.stack(parts, output.op.get_attr("axis"))


class _Frame:
    """One call of a layer."""

    def __init__(self, path: str) -> None:
        import tensorflow as tf

        self.graph = tf.compat.v1.get_default_graph()
        self._prefix = f"{path}/{OWN}" if path else OWN
        self._counts = collections.Counter[str]()

    def key(self, kind: str) -> str:
        """The key of the next operation of a kind; Keras computes an einsum in several ways, by the sizes that it knows."""
        kind = "MatMul" if kind in ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum") else kind
        number = self._counts[kind]
        self._counts[kind] += 1
        return f"{self._prefix}/{kind}_{number}" if number else f"{self._prefix}/{kind}"
