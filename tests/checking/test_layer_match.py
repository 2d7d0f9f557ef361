"""Which tensor is the output of which layer call: names first, then values; each tensor and each call at most once."""

import numpy as np
import pytest

from tfopt.checking.layer_match import Matching, candidates
from tfopt.lowering.layer_calls import LayerCall
from tfopt.tflite.flatbuffer import Graph, Operator, Tensor
from tfopt.tflite.layer_names import LayerNames, Scopes

RNG = np.random.default_rng(0)
A, B, C = (RNG.normal(size=(2, 6)) for _ in range(3))


def matched(pairs, outputs, tensors):
    matching = Matching(pairs)
    for row in range(len(outputs[0])):
        matching.add([each[row] for each in outputs], {index: values[row] for index, values in tensors.items()})
    return matching.result()


def noisy(values, scale):
    return values + scale * RNG.normal(size=values.shape)


def test_a_name_outweighs_the_error_and_equal_values_outweigh_a_name():
    named = {(0, 10): True, (0, 11): False}
    assert matched(named, [A], {10: noisy(A, 0.5), 11: noisy(A, 0.3)}) == {10: 0}
    assert matched(named, [A], {10: noisy(A, 0.5), 11: noisy(A, 0.01)}) == {11: 0}


def test_without_a_name_only_a_tensor_beyond_doubt_counts():
    nameless = {(0, 10): False}
    assert matched(nameless, [A], {10: noisy(A, 0.05)}) == {10: 0}
    assert matched(nameless, [A], {10: noisy(A, 2.0)}) == {}


def test_the_opposite_of_the_output_is_refused_even_with_its_name():
    assert matched({(0, 10): True}, [A], {10: -A}) == {}


def test_each_tensor_and_each_call_is_matched_once():
    pairs = {(place, index): False for place in range(3) for index in (10, 11)}
    assert matched(pairs, [A, B, C], {10: B, 11: A}) == {10: 1, 11: 0}
    both = {(0, 10): False, (1, 10): False}
    assert matched(both, [A, A], {10: A}) == {10: 1}, "of two equal calls the later one, the last of a fused op"
    assert matched({(0, 10): False, (0, 11): False}, [A], {10: A, 11: A}) == {11: 0}


def test_values_that_are_not_finite_do_not_decide():
    bad = A.copy()
    bad[0, 0], bad[1, 1] = np.nan, np.inf
    assert matched({(0, 10): False, (1, 10): False}, [bad, B], {10: np.nan_to_num(bad, posinf=0)}) == {10: 0}


def test_zeros_match_zeros():
    assert matched({(0, 10): False}, [np.zeros_like(A)], {10: np.zeros_like(A)}) == {10: 0}
    assert matched({(0, 10): False}, [np.zeros_like(A)], {10: A}) == {}


def tensor(index, name, dtype="int8", role="activation", shape=(1, 6)):
    scale = (0.1,) if dtype == "int8" else ()
    return Tensor(index, name, shape, dtype, role, scale, (0,) * len(scale))


@pytest.fixture(scope="module")
def graph():
    """x -> dense -> act -> (float) out, with a weight, a shape of another size, and a tensor without a layer's name."""
    tensors = (
        tensor(0, "x", role="input"),
        tensor(1, "net/dense_1/kernel", role="weight", shape=(6, 6)),
        tensor(2, "net/dense_1/MatMul"),
        tensor(3, "net/dense_1/BiasAdd"),
        tensor(4, "net/act_1/Relu", shape=(1, 12)),
        tensor(5, ""),
        tensor(6, "net/head_1/add", dtype="float32", role="output"),
        tensor(7, "net/dense_1/transposed", role="activation", shape=(6, 6)),
    )
    operators = (
        Operator("TRANSPOSE", (1,), (7,)),  # of weights alone
        Operator("FULLY_CONNECTED", (0, 7), (2,)),
        Operator("ADD", (2, 1), (3,)),
        Operator("RELU", (3,), (4,)),
        Operator("ADD", (4, 1), (5,)),
        Operator("DEQUANTIZE", (5,), (6,)),
    )
    return Graph(tensors, operators, (0,), (6,), 1)


def named_pairs(graph, calls, shapes, scopes=None):
    names = LayerNames({call.name for call in calls}, (each.name for each in graph.tensors), scopes or Scopes())
    pairs = candidates(graph, calls, shapes, names)
    return {pair for pair, named in pairs.items() if named}, {pair for pair, named in pairs.items() if not named}


def test_candidates_are_named_tensors_of_the_right_size_and_nameless_ones(graph):
    calls = [LayerCall(name, "Dense", 1) for name in ("dense", "act", "head", "dropped")]
    named, nameless = named_pairs(graph, calls, [(1, 6), (1, 12), (1, 6), (6, 1)])
    # The last tensor with its name; that of another size; the integers of a float output; without a name all that fit.
    assert named == {(0, 3), (1, 4), (2, 5)}
    assert nameless == {(3, 2), (3, 3), (3, 5)}


def test_all_tensors_of_a_layer_that_is_called_twice_are_candidates(graph):
    calls = [LayerCall("dense", "Dense", number) for number in (1, 2)]
    assert named_pairs(graph, calls, [(1, 6)] * 2)[0] == {(0, 2), (0, 3), (1, 2), (1, 3)}


def test_the_scopes_of_the_trace_tell_calls_apart_whatever_their_names_are(graph):
    """`dense_1` is the scope of `dense` here, and the call of another layer has that name."""
    calls = [LayerCall("dense_1", "Dense", 1, ("net/head_1",)), LayerCall("dense", "Dense", 1, ("net/dense_1",))]
    scopes = Scopes({"net/dense_1": "dense", "net/head_1": "dense_1", "net/act_1": "act"})
    assert named_pairs(graph, calls, [(1, 6)] * 2, scopes)[0] == {(0, 5), (1, 3)}


def test_without_the_scopes_names_that_differ_by_a_number_decide_nothing(graph):
    calls = [LayerCall(name, "Dense", 1) for name in ("dense", "dense_1", "head")]
    named, nameless = named_pairs(graph, calls, [(1, 6)] * 3)
    assert named == {(2, 5)} and {(0, 3), (1, 3)} < nameless
