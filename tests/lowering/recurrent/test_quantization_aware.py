"""Quantization-aware recurrent layers within others become int8 throughout."""

import keras
import numpy as np
import pytest
from quantized_layers import float_ops, parity, to_int8
from seeded_models import chain, seeded

import tfopt

RNG = np.random.default_rng(0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_sequences_under_time_distributed(kind):
    layers = keras.layers
    model = seeded(
        lambda k: chain(k, (3, 4, 5), layers.TimeDistributed(getattr(layers, kind)(6, return_sequences=True)), layers.Dense(3)),
        "keras3",
    )
    data = RNG.normal(size=(200, 3, 4, 5)).astype("float32")
    qat = tfopt.calibrate(tfopt.quantize_aware(model, verbose=False), data, verbose=False)
    interpreter = to_int8(qat, data)
    assert not float_ops(interpreter)
    graph = interpreter.graph
    used = {index for operator in graph.operators for index in (*operator.inputs, *operator.outputs) if index >= 0}
    dtypes = {graph.tensors[index].dtype for index in used if graph.tensors[index].role != "weight"}
    # The state of the cell of a fused LSTM has 16 bits in every int8 file.
    assert dtypes <= {"int8", "int32", "int64", "bool", *(["int16"] if kind == "LSTM" else [])}
    numbers = parity(qat, interpreter, data)[0]
    print(numbers)
    assert numbers.sqnr >= 25.0
