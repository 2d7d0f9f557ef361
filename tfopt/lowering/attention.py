"""Attention with a mask as operations whose ranges int8 can hold."""

import functools
import inspect
import math

REST = 1e-6  # of the attention of a query, what all masked keys together may get


def attention(layer):
    """The rule: Keras sets masked scores to -1e38, and that is then the range of all scores.

    Here scores of a query are counted from as far below its largest one as matters to the softmax, masked ones and those below
    being 0: `softmax(mask relu(s - max(s) + d))`, `d = log(keys / REST)`. The largest is that of the keys that are not masked.
    """
    # Keras documents `_compute_attention` as what one overrides (3.15); Keras 2 has it with the same arguments.
    if type(layer).__name__ != "MultiHeadAttention" or type(layer).__module__.partition(".")[0] not in ("keras", "tf_keras"):
        return None
    own, met = functools.partial(type(layer)._compute_attention, layer), []

    def compute(*args, **kwargs):
        given = inspect.signature(own).bind(*args, **kwargs).arguments
        query, key, mask = given["query"], given["key"], given.get("attention_mask")
        is_causal = given.get("use_causal_mask", False)
        if (mask is None and not is_causal) or len(query.shape) != 4 or key.shape[1] is None:
            return own(*args, **kwargs)
        met.append(layer)
        return _attend(query, key, given["value"], _mask(query, key, mask, is_causal))

    return {"_compute_attention": compute, "met": met}


def _mask(query, key, given, is_causal):
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


def _attend(query, key, value, mask):
    """(what is attended to, scores), from tensors (batch, queries or keys, heads, channels)."""
    import tensorflow as tf

    scale, depth = 1 / math.sqrt(query.shape[-1]), math.log(key.shape[1] / REST)
    raw = tf.einsum("btnh,bsnh->bnts", query, key)
    # With the least in place of the masked ones, the range stays what it is.
    seen = tf.where(mask, raw, tf.reduce_min(raw, -1, keepdims=True))
    above = tf.nn.relu(seen - (tf.reduce_max(seen, -1, keepdims=True) - depth / scale)) * scale
    scores = tf.nn.softmax(tf.where(mask, above, 0.0))
    return tf.einsum("bnts,bsnh->btnh", scores, value), scores
