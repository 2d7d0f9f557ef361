"""What is known of TFLite operations by their names in the schema: where the scale and the type of an int8 output come from."""

from __future__ import annotations

SAME_SCALE = frozenset({
    "AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE", "DYNAMIC_UPDATE_SLICE",
    "EXPAND_DIMS", "FILL", "GATHER", "GATHER_ND", "MAX_POOL_2D", "MAXIMUM", "MINIMUM", "MIRROR_PAD", "PACK", "PAD", "PADV2",
    "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SCATTER_ND", "SELECT",
    "SELECT_V2", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE",
    "TRANSPOSE", "UNPACK",
})  # fmt: skip
"""Operations whose int8 inputs and outputs must have one scale, as their kernels copy, choose or average integers.

The list is that of TensorFlow's quantizer (`restrict_same_input_output_scale` in `operator_property.cc`, and the operations of
`tfl_ops.td` that came later). `tfopt.quantization.layer_kinds` has the Keras layers that are computed by them.
"""

FIXED_SCALE = frozenset({"L2_NORMALIZATION", "LOG_SOFTMAX", "LOGISTIC", "SOFTMAX", "TANH"})
"""Operations whose int8 output has a scale that the format prescribes, whatever the data."""

ANY_SCALE = frozenset({"ADD", "MUL", "SUB"})
"""Operations whose int8 inputs and output may each have a scale of its own. Others can do so too; these are known to."""

SAME_TYPE = frozenset({
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "MEAN", "MUL", "RELU", "RELU6",
    "RESHAPE", "SUB", "TRANSPOSE",
})  # fmt: skip
"""Operations whose output has the type of their first input.

Not all of `SAME_SCALE`: the first input of SELECT is a condition, that of SPLIT an axis.
"""
