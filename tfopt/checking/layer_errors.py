"""`check(..., layers=True)`: where in the model the error of a TFLite file comes from."""

import math

import numpy as np

from tfopt.checking import diagnoses, layer_match, layer_numbers
from tfopt.checking.layer_facts import gather
from tfopt.lowering.layer_calls import trace_layer_calls
from tfopt.tflite.layer_names import LayerNames

# How many samples the layers are matched and compared on: enough for ranges, and few as every tensor is read.
MATCHED, COMPARED = 4, 64


def examine(interpreter, model, specs, pairs, batches, structure):
    """Compares the output of every layer that has a tensor in the file, and looks for known causes of error.

    Args:
        interpreter: `Interpreter` of the file that keeps all tensors.
        model: the Keras model that the file was made of.
        specs: list of `signature.TensorSpec`, the model's inputs without open sizes.
        pairs: dict of input of the file -> input of the model.
        batches: `batches(count)` yields ({input name: array}, rows that are samples) of `count` samples.
        structure: `structure.Structure` of the file.

    Returns:
        (tuple of `LayerNumbers`, worst SQNR first; tuple of `causes.Cause`).
    """
    graph = interpreter.graph
    calls, traced = trace_layer_calls(model, specs)
    shapes = [tuple(output.shape) for output in traced.function.outputs]
    mention = LayerNames({call.name for call in calls}, (tensor.name for tensor in graph.tensors)).mentioned
    matched = _match(interpreter, calls, shapes, traced, pairs, batches)

    inputs = _inputs(interpreter)
    matched = {index: place for index, place in matched.items() if index not in inputs.values()}
    comparisons = {index: layer_numbers.Comparison(graph.tensors[index]) for index in (*inputs.values(), *matched)}
    joined = {index for operator in graph.operators if operator.name == "CONCATENATION" for index in operator.inputs}
    spreads = {index: layer_numbers.Spread() for index in joined if graph.tensors[index].role != "weight"}
    count = 0
    for arrays, rows in batches(COMPARED):
        count += rows
        outputs = _run(interpreter, traced, pairs, arrays)
        wanted = {index: arrays[name] for name, index in inputs.items()}
        wanted |= {index: outputs[place] for index, place in matched.items()}
        for index, comparison in comparisons.items():
            values = _rows(interpreter.tensor(index).reshape(np.shape(wanted[index])), interpreter.batch_size, rows)
            comparison.add(_rows(wanted[index], interpreter.batch_size, rows), values)
        for index, spread in spreads.items():
            spread.add(_rows(_real(interpreter, index), interpreter.batch_size, rows))

    alone = {calls[place].name for place in matched.values()}
    numbers = [comparisons[index].numbers(name, "Input") for name, index in inputs.items()]
    for index, place in sorted(matched.items(), key=lambda pair: pair[1]):
        call = calls[place]
        fused = [name for name in mention(graph.tensors[index].name) if name not in alone]
        numbers.append(comparisons[index].numbers(call.name, call.class_name, call.number, fused))
    ranges = {index: spread.range for index, spread in spreads.items()} | {each.index: each.float_range for each in numbers}
    found = diagnoses.find(gather(model, graph, structure, tuple(numbers), ranges, mention, count))
    return tuple(sorted(numbers, key=lambda each: (not math.isnan(each.sqnr), each.sqnr))), found


def _inputs(interpreter):
    """dict of input name -> tensor: the quantized one, also of a file that takes floats. Integers such as token ids are exact."""
    tensors = interpreter.graph.tensors
    quantized = {operator.inputs[0]: operator.outputs[0] for operator in interpreter.graph.operators if operator.name == "QUANTIZE"}
    found = {}
    for name, index in zip(interpreter.input_names, interpreter.input_indices, strict=True):
        if tensors[index].scale or tensors[index].dtype == "float32":
            found[name] = index if tensors[index].scale else quantized.get(index, index)
    return found


def _match(interpreter, calls, shapes, traced, pairs, batches):
    """dict of tensor index -> place in `calls`."""
    candidates = layer_match.candidates(interpreter.graph, calls, shapes)
    matching = layer_match.Matching(candidates)
    for arrays, _ in batches(MATCHED):
        outputs = _run(interpreter, traced, pairs, arrays)
        matching.add(outputs, {index: _real(interpreter, index) for index in {index for _, index in candidates}})
    return matching.result()


def _run(interpreter, traced, pairs, arrays):
    """Runs the file, and returns the outputs of the layer calls."""
    interpreter.run(arrays)
    return traced({pairs[name]: array for name, array in arrays.items()})


def _real(interpreter, index):
    tensor, values = interpreter.graph.tensors[index], interpreter.tensor(index)
    return (values.astype(np.float32) - tensor.zero_point[0]) * np.float32(tensor.scale[0]) if tensor.scale else values


def _rows(values, batch_size, count):
    """Without the rows that only fill up the last batch."""
    return values[:count] if values.ndim and len(values) == batch_size else values
