"""The rule for a softmax of masked scores, whoever masked them, in a range that int8 can hold."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from tfopt.graphs.masked_scores import REST, taken_apart

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule


def masked_softmax(addends: Collection[int]) -> dict[str, Rule]:
    """The rule, by the type of its operation.

    Args:
        addends: the id of each input of the function that is 0 where scores count, and far below 0 elsewhere.
    """
    return {"Softmax": functools.partial(_masked_softmax, addends=addends)}


def _masked_softmax(operation: tf.Operation, find: Find, addends: Collection[int]) -> tf.Tensor | None:
    """Scores stay in a range that int8 can hold, where masked scores are set to -1e9 or the like.

    The scores of a query are counted from a level so far below its largest one that the softmax does not notice; scores below the
    level and masked scores are 0: `softmax(mask relu(s - max(s) + d))`, `d = log(keys / REST)`. The largest score is that of the
    keys that are not masked.
    """
    import tensorflow as tf

    keys = operation.inputs[0].shape[-1]
    terms, masks = taken_apart(operation.inputs[0], addends)
    if not masks or not terms or keys is None:
        return None
    keep = functools.reduce(tf.logical_and, [mask.kept(find) for mask in masks])
    scores = functools.reduce(tf.add, [find(term) for term in terms])
    # With the least in place of the masked ones, the range stays what it is.
    seen = tf.where(keep, scores, tf.reduce_min(scores, -1, keepdims=True))
    above = tf.nn.relu(seen - (tf.reduce_max(seen, -1, keepdims=True) - math.log(keys / REST)))
    return tf.nn.softmax(tf.where(keep, above, 0.0))


MASKED_SOFTMAX: dict[str, dict[str, Rule]] = {"attention": masked_softmax(())}
