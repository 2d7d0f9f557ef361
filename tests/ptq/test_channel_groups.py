"""Channels of one group may be scaled together: a property of random graphs, computed by NumPy."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.ptq import channel_groups, equalize
from tfopt.tflite import flatbuffer

WIDTH = 3
UNARY = {"RELU": lambda x: np.maximum(x, 0), "NEG": np.negative, "ABS": np.abs, "TANH": np.tanh}
BINARY = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply}
# Each step is an operation on the tensors before it, which are counted from the last one.
STEPS = st.lists(
    st.tuples(st.sampled_from(["FULLY_CONNECTED", *UNARY, *BINARY]), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8
)


def build(steps, generator):
    """A file of one row: a dense layer, the steps, and a dense layer that makes the output."""
    model = schema.ModelT()
    model.buffers, model.operatorCodes, model.subgraphs = [schema.BufferT()], [], [schema.SubGraphT()]
    graph = model.subgraphs[0]
    graph.tensors, graph.operators = [], []
    tensors = [flatbuffer.add_tensor(model, b"input", (1, WIDTH))]
    graph.inputs = np.array(tensors, np.int32)
    for name, first, second in (("FULLY_CONNECTED", 0, 0), *steps, ("FULLY_CONNECTED", 0, 0)):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        model.operatorCodes.append(code)
        inputs = [tensors[-1 - first % len(tensors)]]
        if name in BINARY:
            inputs.append(tensors[-1 - second % len(tensors)])
        if name == "FULLY_CONNECTED":
            shapes = (WIDTH, WIDTH), (WIDTH,)
            values = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
            inputs += [flatbuffer.add_tensor(model, b"constant", shape, each) for shape, each in zip(shapes, values, strict=True)]
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        tensors.append(flatbuffer.add_tensor(model, b"result", (1, WIDTH)))
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(tensors[-1:], np.int32)
        graph.operators.append(operator)
    graph.outputs = np.array(tensors[-1:], np.int32)
    return model


def run(model, row):
    """The output of a file for one input, in float64."""
    graph = model.subgraphs[0]
    values = {int(graph.inputs[0]): row}
    for operator in graph.operators:
        name = flatbuffer.op_name(model, operator)
        constants = {int(index): flatbuffer.read_constant(model, graph.tensors[int(index)]) for index in operator.inputs}
        found = [values[index] if constant is None else constant.astype(float) for index, constant in constants.items()]
        if name == "FULLY_CONNECTED":
            result = found[0] @ found[1].T + found[2]
        elif name in UNARY:
            result = UNARY[name](found[0])
        else:
            result = BINARY[name](found[0], found[-1])  # one tensor twice is one entry
        values[int(operator.outputs[0])] = result
    return values[int(graph.outputs[0])]


@settings(deadline=None)
@given(STEPS, st.integers(0, 2**32 - 1))
def test_scaled_groups_leave_the_outputs(steps, seed):
    generator = np.random.default_rng(seed)
    model, row = build(steps, generator), generator.normal(size=(1, WIDTH))
    wanted, found = run(model, row), channel_groups.group(model)
    scales = np.where(found.free, generator.uniform(0.25, 4.0, len(found.free)), 1.0)
    scale_of = {index: scales[groups] for index, groups in found.groups.items()}
    for operator in model.subgraphs[0].operators:
        equalize._rescale(model, operator, scale_of)
    np.testing.assert_allclose(run(model, row), wanted, rtol=1e-4, atol=1e-4 * (1 + np.abs(wanted).max()))


@settings(deadline=None)
@given(STEPS, st.integers(0, 2**32 - 1))
def test_inputs_and_outputs_are_never_scaled(steps, seed):
    model = build(steps, np.random.default_rng(seed))
    found = channel_groups.group(model)
    graph = model.subgraphs[0]
    assert not any(found.free[found.groups[int(index)]].any() for index in (*graph.inputs, *graph.outputs))
