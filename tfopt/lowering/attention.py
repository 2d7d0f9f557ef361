"""Attention with a mask as operations whose ranges int8 can hold."""

from __future__ import annotations

import functools
import inspect
import math
from typing import TYPE_CHECKING, Any

from tfopt.graphs.masked_scores import REST
from tfopt.keras_model.kinds import layer_kind

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer


def attention(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: scores stay in a range that int8 can hold, where Keras sets masked scores to -1e38.

    The scores of a query are counted from a level so far below its largest one that the softmax does not notice; scores below the
    level and masked scores are 0: `softmax(mask relu(s - max(s) + d))`, `d = log(keys / REST)`. The largest score is that of the
    keys that are not masked.
    """
    # Keras documents `_compute_attention` as the method to override (3.15); Keras 2 has it with the same arguments.
    if layer_kind(layer, besides=("call", "_compute_attention_mask")) != "MultiHeadAttention":
        return None
    own = functools.partial(type(layer)._compute_attention, layer)
    met: list[AnyLayer] = []

    def compute(*args: Any, **kwargs: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
        given = inspect.signature(own).bind(*args, **kwargs).arguments
        query, key, mask = given["query"], given["key"], given.get("attention_mask")
        is_causal = given.get("use_causal_mask", False)
        if (mask is None and not is_causal) or len(query.shape) != 4 or key.shape[1] is None:
            return own(*args, **kwargs)
        met.append(layer)
        return _attend(query, key, given["value"], _mask(query, key, mask, is_causal))

    return {"_compute_attention": compute, "met": met}


def _mask(query: tf.Tensor, key: tf.Tensor, given: tf.Tensor | None, is_causal: bool) -> tf.Tensor:
    """A bool tensor that broadcasts to (batch, heads, queries, keys)."""
    import tensorflow as tf

    mask = None
    if given is not None:
        mask = tf.cast(given, "bool")
        while len(mask.shape) < 4:
            mask = mask[..., None, :, :]
    if is_causal:
        before = tf.constant([[[[column <= row for column in range(key.shape[1])] for row in range(query.shape[1])]]])
        mask = before if mask is None else tf.logical_and(mask, before)
    return mask


def _attend(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(weighted values, scores), from tensors (batch, queries or keys, heads, channels)."""
    import tensorflow as tf

    scale, depth = 1 / math.sqrt(query.shape[-1]), math.log(key.shape[1] / REST)
    raw = tf.einsum("btnh,bsnh->bnts", query, key)
    # With the least in place of the masked ones, the range stays what it is.
    seen = tf.where(mask, raw, tf.reduce_min(raw, -1, keepdims=True))
    above = tf.nn.relu(seen - (tf.reduce_max(seen, -1, keepdims=True) - depth / scale)) * scale
    scores = tf.nn.softmax(tf.where(mask, above, 0.0))
    return tf.einsum("bnts,bsnh->btnh", scores, value), scores
