"""TFLite's elementwise operations in NumPy, on real numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

    Values = npt.NDArray[Any]

_ERF = np.vectorize(math.erf, otypes=[np.float64])


def _gelu(x: Values, options: Any) -> Values:
    # arXiv:1606.08415
    if options is not None and options.approximate:
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1.0 + _ERF(x / math.sqrt(2)))


_OF_ONE: dict[str, Callable[[Values, Any], Values]] = {
    "ABS": lambda x, _: np.abs(x),
    "CAST": lambda x, _: x,
    "CEIL": lambda x, _: np.ceil(x),
    "COS": lambda x, _: np.cos(x),
    "DEQUANTIZE": lambda x, _: x,
    "ELU": lambda x, _: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "EXP": lambda x, _: np.exp(x),
    "FLOOR": lambda x, _: np.floor(x),
    "GELU": _gelu,
    "HARD_SWISH": lambda x, _: x * np.clip(x + 3, 0, 6) / 6,
    "LEAKY_RELU": lambda x, options: np.where(x > 0, x, options.alpha * x),
    "LOG": lambda x, _: np.log(x),
    "LOGICAL_NOT": lambda x, _: ~x.astype(bool),
    "LOGISTIC": lambda x, _: 1 / (1 + np.exp(-x)),
    "NEG": lambda x, _: -x,
    "QUANTIZE": lambda x, _: x,
    "RELU": lambda x, _: np.maximum(x, 0),
    "RELU6": lambda x, _: np.clip(x, 0, 6),
    "RELU_0_TO_1": lambda x, _: np.clip(x, 0, 1),
    "RELU_N1_TO_1": lambda x, _: np.clip(x, -1, 1),
    "ROUND": lambda x, _: np.rint(x),
    "RSQRT": lambda x, _: 1 / np.sqrt(x),
    "SIGN": lambda x, _: np.sign(x),
    "SIN": lambda x, _: np.sin(x),
    "SQRT": lambda x, _: np.sqrt(x),
    "SQUARE": lambda x, _: x * x,
    "TANH": lambda x, _: np.tanh(x),
    "ZEROS_LIKE": lambda x, _: np.zeros_like(x),
}
_OF_TWO: dict[str, Callable[[Values, Values], Values]] = {
    "ADD": np.add, "ATAN2": np.arctan2, "DIV": np.divide, "EQUAL": np.equal, "FLOOR_DIV": np.floor_divide, "FLOOR_MOD": np.mod,
    "GREATER": np.greater, "GREATER_EQUAL": np.greater_equal, "LESS": np.less, "LESS_EQUAL": np.less_equal,
    "LOGICAL_AND": np.logical_and, "LOGICAL_OR": np.logical_or, "MAXIMUM": np.maximum, "MINIMUM": np.minimum, "MUL": np.multiply,
    "NOT_EQUAL": np.not_equal, "POW": np.power, "SQUARED_DIFFERENCE": lambda x, y: (x - y) ** 2, "SUB": np.subtract,
}  # fmt: skip
_FUSED: dict[int, Callable[[Values], Values]] = {  # ActivationFunctionType of the schema
    0: lambda x: x,
    1: lambda x: np.maximum(x, 0),
    2: lambda x: np.clip(x, -1, 1),
    3: lambda x: np.clip(x, 0, 6),
    4: np.tanh,
    5: np.sign,
}

NAMES = frozenset({*_OF_ONE, *_OF_TWO, "SELECT", "SELECT_V2"})
"""The operations that `compute` knows."""


def compute(name: str, operator: schema.OperatorT, inputs: Sequence[Values]) -> Values:
    """The output of an elementwise operation for real inputs of one shape, or single numbers.

    Args:
        name: one of `NAMES`.
        operator: with its options.
        inputs: float64, or bool for truth.
    """
    options = operator.builtinOptions
    with np.errstate(all="ignore"):  # values outside of what the function takes: the file has them as the kernel makes them
        if name in _OF_ONE:
            return _OF_ONE[name](inputs[0], options)
        if name in _OF_TWO:
            return _FUSED[getattr(options, "fusedActivationFunction", 0)](_OF_TWO[name](inputs[0], inputs[1]))
        return np.where(inputs[0], inputs[1], inputs[2])
