"""The edits of a finished file: the places that they change, and the places that they leave."""

import keras
import numpy as np
import pytest
from seeded_models import chain, draw, measure, seeded, specs_of, to_int8

from tfopt.conversion import export
from tfopt.lowering import lower
from tfopt.lowering.trace import trace_model
from tfopt.tflite import flatbuffer, op_audit
from tfopt.tflite.edits import apply_edits
from tfopt.tflite.interpreter import Interpreter

L = keras.layers


def without(model, edit, **options):
    return to_int8(model, skip=(edit,), **options)


def integers(content, data):
    """The outputs as whole steps of the file's own scale."""
    interpreter = Interpreter(content)
    outputs = interpreter.run(data)
    scales = op_audit.output_scales(interpreter.graph, interpreter.graph.outputs)
    return [np.round(output / scale) for output, scale in zip(outputs, scales, strict=True)]


def weights_of(content):
    """The int8 weights of the last convolution of a file, channels first."""
    model = flatbuffer.unpack(content)
    graph, kinds = model.subgraphs[0], ("CONV_2D", "DEPTHWISE_CONV_2D")
    last = [operator for operator in graph.operators if flatbuffer.op_name(model, operator) in kinds][-1]
    tensor = graph.tensors[last.inputs[1]]
    array = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8).reshape(tuple(tensor.shape))
    if flatbuffer.op_name(model, last) == "DEPTHWISE_CONV_2D":
        return array[0].transpose(2, 0, 1)
    return array[..., 0] if array.shape[-1] == 1 else array


def partitions(content):
    return op_audit.examine(Interpreter(content)).partitions


def between_convolutions(*layers, shape=(9, 8, 4)):
    def build(k):
        return chain(k, shape, k.layers.Conv2D(8, 3, padding="same"), *layers, k.layers.Conv2D(4, 1))

    return seeded(build, "keras3")


POOLS = {
    "valid": {"pool_size": 2}, "same": {"pool_size": 3, "strides": 1, "padding": "same"},
    "same_stride2": {"pool_size": 3, "strides": 2, "padding": "same"}, "valid_stride1": {"pool_size": 3, "strides": 1},
    "oblong": {"pool_size": (2, 3), "strides": 1}, "oblong_same": {"pool_size": (2, 3), "strides": (1, 2), "padding": "same"},
}  # fmt: skip
PLACES = [
    *[
        pytest.param("average_pool", lambda o=options: L.AveragePooling2D(**o), id=f"pool_{name}")
        for name, options in POOLS.items()
    ],
    pytest.param("hard_swish", lambda: L.Activation("hard_swish"), id="hard_swish"),
]


@pytest.mark.parametrize(("edit", "layer"), PLACES)
def test_the_delegate_takes_all_and_outputs_stay(edit, layer):
    # At the end, as a convolution behind it would add up the differences of single steps.
    model = seeded(lambda k: chain(k, (9, 8, 4), k.layers.Conv2D(8, 3, padding="same"), layer()), "keras3")
    data = draw(specs_of(model), 32, seed=3)
    (old,), (new,) = integers(without(model, edit), data), integers(to_int8(model), data)
    assert np.abs(old - new).max() <= 2
    model = between_convolutions(layer())
    before, after = without(model, edit), to_int8(model)
    assert partitions(before) > 1 and partitions(after) == 1


@pytest.mark.parametrize("limit", [None, 6.0], ids=["RELU", "RELU6"])
def test_a_relu_of_its_own_is_fused(limit):
    model = between_convolutions(L.MaxPooling2D(), L.ReLU(limit))
    before, after = without(model, "fused_relu"), to_int8(model)
    data = draw(specs_of(model), 32, seed=3)
    (old,), (new,) = integers(before, data), integers(after, data)
    assert np.abs(old - new).max() <= 2
    ops = op_audit.examine(Interpreter(after)).ops
    assert "RELU" not in ops and "RELU6" not in ops
    assert partitions(after) == 1


WIDE = {
    "depthwise": lambda: L.DepthwiseConv2D(7, padding="same"), "valid_stride2": lambda: L.DepthwiseConv2D((3, 9), strides=2),
    "relu": lambda: L.DepthwiseConv2D(6, activation="relu", use_bias=False),
    "dilated": lambda: L.DepthwiseConv2D((9, 3), dilation_rate=2, padding="same"), "groups": lambda: L.Conv2D(16, 7, groups=16),
    "eleven": lambda: L.DepthwiseConv2D(7),
}  # fmt: skip


@pytest.mark.parametrize("name", list(WIDE))
def test_a_wide_window_is_convolved_in_blocks_of_channels(name):
    layer, channels = WIDE[name], 22 if name == "eleven" else 16
    model = seeded(lambda k: chain(k, (20, 20, 4), k.layers.Conv2D(channels, 3, padding="same"), layer()), "keras3")
    before, after = without(model, "depthwise_blocks"), to_int8(model)
    depthwise, blocks = weights_of(before), weights_of(after)
    np.testing.assert_array_equal(blocks.astype(np.int32).sum(axis=-1), depthwise)
    assert np.count_nonzero(blocks) == np.count_nonzero(depthwise), "all others are zeros, so that the sums are the same integers"
    data = draw(specs_of(model), 32, seed=3)
    (old,), (new,) = integers(before, data), integers(after, data)
    assert np.abs(old - new).max() <= 1, "kernels may round the same sum to either side"
    assert len(np.unique(new)) > 20
    ops = op_audit.examine(Interpreter(after)).ops
    assert ops["CONV_2D"] == 2 and "DEPTHWISE_CONV_2D" not in ops
    assert len(before) < len(after)  # which is what it costs


@pytest.mark.parametrize(
    ("channels", "window", "padding"),
    [(16, 5, "same"), (34, 7, "same"), (16, 7, "valid")],
    ids=["narrow", "channels", "few_places"],
)
def test_other_depthwise_convolutions_are_left(channels, window, padding):
    model = between_convolutions(L.Conv2D(channels, 1), L.DepthwiseConv2D(window, padding=padding))
    assert op_audit.examine(Interpreter(to_int8(model))).ops["DEPTHWISE_CONV_2D"] == 1


def test_windows_whose_borders_int8_cannot_tell_are_left():
    model = between_convolutions(L.AveragePooling2D(5, strides=1, padding="same"))  # 5 / 3, 5 / 4
    assert op_audit.examine(Interpreter(to_int8(model))).ops["AVERAGE_POOL_2D"] == 1


@pytest.fixture(scope="module")
def memory():
    model = seeded(lambda k: chain(k, (6, 4), k.layers.LSTM(6), k.layers.Dense(3)), "keras3")
    traced = trace_model(model, specs_of(model), lower.plan(model))
    return traced, draw(traced.inputs, 256, seed=2)


@pytest.mark.parametrize("skip", [(), ("reset_state",)], ids=["reset", "left"])
def test_a_fused_lstm_forgets_between_runs(memory, skip):
    traced, samples = memory
    content = export.to_tflite(traced, export.Variant("int8"), samples=samples, skip_lowering=skip).content
    run = Interpreter(content)
    one = draw(traced.inputs, 1, seed=5)
    first, second = run.run(one)[0], run.run(one)[0]
    # Left alone it goes on from the run before: when this fails, the edit can go.
    assert np.array_equal(first, second) == (not skip)


@pytest.mark.slow
def test_both_directions_of_an_lstm_keep_their_scales():
    model = seeded(lambda k: chain(k, (6, 4), k.layers.Bidirectional(k.layers.LSTM(6, return_sequences=True))), "keras3")
    float_ops, (after,) = measure(model, to_int8(model))
    _, (before,) = measure(model, without(model, "requantize"))
    print("SQNR", before, after)
    assert not float_ops
    assert after >= 25.0 > before


def test_nothing_to_do_returns_the_same_bytes():
    model = seeded(lambda k: chain(k, (6,), k.layers.Dense(4)), "keras3")
    content = to_int8(model)
    again, counts = apply_edits(content)
    assert again is content and counts == {}


def test_float_files_are_left():
    model = between_convolutions(L.AveragePooling2D(2), L.Activation("hard_swish"), L.MaxPooling2D(), L.ReLU())
    traced = trace_model(model, specs_of(model))
    exported = export.to_tflite(traced, export.Variant("float32"))
    assert exported.edits == {}


TRIANGLE = np.tril(np.ones((8, 8), "float32"))


class SharedTriangle(keras.layers.Layer):
    """Sums along an axis as a product with a triangle of ones, and the same triangle as a factor or a summand."""

    def call(self, x):
        sums = keras.ops.matmul(x, TRIANGLE.T)  # the file holds weights transposed: they are the triangle itself
        products = sums[..., None] * sums[:, None, :]
        return [products * TRIANGLE, products + TRIANGLE]


def test_weights_that_are_a_factor_too_have_one_scale():
    x = keras.Input((8,))
    model = keras.Model(x, SharedTriangle()(x))
    content = to_int8(model)
    graph = flatbuffer.parse(content)
    readers = {op.name for op in graph.operators for index in op.inputs if len(graph.tensors[index].scale) > 1}
    assert readers <= {"FULLY_CONNECTED"}
    float_ops, decibels = measure(model, content)
    assert not float_ops and min(decibels) >= 25.0
    left = flatbuffer.parse(without(model, "one_scale"))  # it would end this process: a product has no kernel for several scales
    assert any(len(left.tensors[index].scale) > 1 for op in left.operators if op.name == "MUL" for index in op.inputs)
