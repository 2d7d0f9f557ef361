"""The ways to choose the range of a tensor, and how the ranges get into a float file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfopt.ptq import ranges
from tfopt.tflite import flatbuffer
from tfopt.tflite.operations import SAME_SCALE

Range = tuple[float, float]
"""The lowest and the highest value that int8 covers, in real units."""

Choose = Callable[[Any], Range]
"""Takes an `observe.Activation` (for `WIDENED`, an `observe.Ends`) and returns the range of the tensor."""

RANGES: dict[str, Choose] = {
    "widened min-max": lambda seen: ranges.extended(seen.lowest, seen.highest, seen.count),
    "least squared error": lambda seen: ranges.minimal_error(seen.histogram),
    "percentile 99.99": lambda seen: ranges.percentile(seen.histogram, 0.9999),
    "percentile 99.9": lambda seen: ranges.percentile(seen.histogram, 0.999),
}
WIDENED, *_ = RANGES


def choose_ranges(content: bytes, seen: Mapping[int, Any], choose: Choose, known: Mapping[int, Range] | None = None) -> bytes:
    """Writes the range of each tensor into a float file, as `choose` takes it from the values of the tensor.

    Tensors that must have the same scale get one range, which covers those of all.

    Example:

    ```python
    content = choose_ranges(calibrated, observe(calibrated, batches), RANGES["percentile 99.9"])
    ```

    Args:
        content: the float file that `quantizer.collect_ranges` makes.
        seen: tensor index -> argument of `choose`.
        choose: one of `RANGES`.
        known: None, or tensor index -> range that is settled already.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = flatbuffer.unpack(content)
    subgraph = model.subgraphs[0]
    chosen = {index: choose(each) for index, each in seen.items()} | dict(known or {})
    for operators in (subgraph.operators, reversed(subgraph.operators)):
        for operator in operators:
            if flatbuffer.op_name(model, operator) in SAME_SCALE:
                linked = [int(index) for index in (*operator.inputs, *operator.outputs) if int(index) in chosen]
                if linked:
                    lows, highs = zip(*(chosen[index] for index in linked), strict=True)
                    chosen.update(dict.fromkeys(linked, (min(lows), max(highs))))
    for index, (low, high) in chosen.items():
        tensor = subgraph.tensors[index]
        tensor.quantization = tensor.quantization or schema.QuantizationParametersT()
        tensor.quantization.min, tensor.quantization.max = np.array([low], np.float32), np.array([high], np.float32)
    return flatbuffer.pack(model)
