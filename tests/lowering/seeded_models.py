"""Small seeded models of either Keras: their traced functions, their int8 files, and the distance between both."""

import keras
import numpy as np
import tf_keras

from tfopt.conversion import export
from tfopt.data import signature
from tfopt.lowering import lower
from tfopt.lowering.trace import trace_model
from tfopt.tflite import op_audit
from tfopt.tflite.interpreter import Interpreter

KERAS = {"keras3": keras, "keras2": tf_keras}


class Compute(keras.layers.Layer):
    """A function as a layer of its own."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def seeded(build, kind, seed=0):
    """The model that `build(keras)` makes, with weights that leave no bias or scale at its neutral value."""
    module = KERAS[kind]
    module.utils.set_random_seed(seed)
    model = build(module)
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if "int" not in str(variable.dtype):
            shake = 0.2 * np.abs(generator.normal(size=tuple(variable.shape)))
            variable.assign(np.asarray(variable) + shake.astype("float32"))
    return model


def chain(module, shape, *layers, dtype=None):
    source = tensor = module.Input(shape, dtype=dtype)
    for layer in layers:
        tensor = layer(tensor)
    return module.Model(source, tensor)


def padded(layer):
    """(model, data) of a layer between two Dense that takes sequences and the mask of their steps."""
    x, mask = keras.Input((6, 8), name="x"), keras.Input((6,), dtype="int32", name="mask")
    model = seeded(lambda k: k.Model([x, mask], k.layers.Dense(4)(layer(k.layers.Dense(8)(x), mask))), "keras3")
    random = np.random.default_rng(0)
    rows = random.normal(size=(64, 6, 8)).astype("float32")
    return model, {"x": rows, "mask": (np.arange(6) < random.integers(1, 7, (64, 1))).astype("int32")}


def specs_of(model, batch_size=1):
    return signature.fix_sizes(signature.input_specs(model), batch_size)


def draw(specs, count, seed, high=30):
    """Normal numbers, or integers below `high`, for every input."""
    generator = np.random.default_rng(seed)

    def one(spec):
        shape = (count, *spec.shape[1:])
        if "int" in spec.dtype:
            return generator.integers(0, 256 if spec.dtype == "uint8" else high, shape).astype(spec.dtype)
        return generator.normal(size=shape).astype("float32")

    return {spec.name: one(spec) for spec in specs}


def run_traced(traced, data):
    """Outputs of a traced function on any number of samples."""
    size = traced.inputs[0].shape[0]
    count = len(next(iter(data.values())))
    parts = [traced({name: array[at : at + size] for name, array in data.items()}) for at in range(0, count, size)]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def largest_differences(model, *, batch_size=1, data=None, specs=None, lowering=None):
    """Between each of the model's outputs and that of its rewritten form, in units of the largest value of the output."""
    specs = specs or specs_of(model, batch_size)
    data = data or draw(specs, 4, seed=1)
    wanted = run_traced(trace_model(model, specs), data)
    found = run_traced(trace_model(model, specs, lowering or lower.plan(model)), data)
    assert [each.shape for each in wanted] == [each.shape for each in found]
    pairs = zip(wanted, found, strict=True)
    return [np.abs(one.astype(float) - other).max() / max(1.0, np.abs(one).max()) for one, other in pairs]


def to_int8(model, *, specs=None, data=None, skip=(), batch_size=1, samples=256, **variant):
    """The int8 file of the rewritten model, made in this process."""
    specs = specs or specs_of(model, batch_size)
    traced = trace_model(model, specs, lower.plan(model, skip=skip))
    data = data or draw(specs, samples, seed=2)
    return export.to_tflite(traced, export.Variant("int8", **variant), samples=data, skip_lowering=skip).content


def measure(model, content, *, specs=None, data=None, batch_size=1):
    """(names of the float ops, dB of each output) of a file, on other data than it was calibrated with."""
    specs = specs or specs_of(model, batch_size)
    data = data or draw(specs, 48, seed=3)
    wanted = run_traced(trace_model(model, specs), data)
    interpreter = Interpreter(content)
    found = interpreter.run(data)
    float_ops = op_audit.examine(interpreter, [layer.name for layer in model.layers], quantization="int8").float_ops
    noise = [((one.astype(float) - other) ** 2).sum() for one, other in zip(wanted, found, strict=True)]
    decibel = [float(10 * np.log10((one.astype(float) ** 2).sum() / error)) for one, error in zip(wanted, noise, strict=True)]
    return [f"{op.op} {op.layer}" for op in float_ops], decibel
