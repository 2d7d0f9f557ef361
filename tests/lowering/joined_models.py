"""Several small models as one with as many outputs, so that they are traced and converted once.

The parts share neither inputs nor weights, so that a part computes, and is quantized, as it would be by itself.
"""

import functools

import numpy as np
from seeded_models import KERAS, draw, largest_differences, measure, seeded, specs_of, to_int8

import tfopt
from tfopt.keras_model.walk import walk_layers, walk_operations
from tfopt.lowering import lower
from tfopt.quantization.bake import baked


def with_padding(model, data):
    """Some steps are zero, at the beginning, within and at the end, but never all, if the model masks such steps."""
    if any(type(layer).__name__ == "Masking" or getattr(layer, "mask_zero", False) for layer in walk_layers(model)):
        for array in data.values():
            if array.dtype.kind == "i":
                array[array == 0] = 1
            array[::4, :2], array[1::4, 3:], array[2::4, 1:3] = 0, 0, 0
    return data


class JoinedModels:
    """The models of some of `lowering_cases.CASES`, all of one Keras.

    Args:
        cases: tuples (name, kind of Keras, function that builds the model, rule).
        around: function of the package and the model of a case that returns the model to take in its place.
    """

    def __init__(self, cases, around=lambda module, model: model):
        module = KERAS[cases[0][1]]
        self.parts = {
            name: seeded(lambda module, build=build: around(module, build(module)), kind) for name, kind, build, _ in cases
        }
        inputs = [tensor for part in self.parts.values() for tensor in part.inputs]
        outputs = [tensor for part in self.parts.values() for tensor in part.outputs]
        self.model = module.Model(inputs, outputs)
        ends = np.cumsum([len(part.outputs) for part in self.parts.values()]).tolist()
        self._outputs = {
            name: slice(end - len(part.outputs), end) for (name, part), end in zip(self.parts.items(), ends, strict=True)
        }

    def touched(self, name, rule):
        """Whether a rule rewrites something in a part."""
        part = self.parts[name]
        own = {layer.name for layer in (*walk_layers(part), *walk_operations(part))}
        return bool(own & {path.rpartition("/")[2] for path in self._rewritten[1].touched.get(rule, ())})

    def difference(self, name):
        """Between the outputs of a part and those of its rewritten form, in units of the largest output."""
        return max(self._rewritten[0][self._outputs[name]])

    def int8(self, name):
        """(names of the float ops, dB of each output) of a part's int8 file."""
        float_ops, decibel = self._measured
        return self._own(name, float_ops), decibel[self._outputs[name]]

    def quantization_aware(self, name):
        """The same of the int8 file of a part's calibrated quantization-aware form, against this form."""
        float_ops, decibel = self._measured_quantization_aware
        return self._own(name, float_ops), decibel[self._outputs[name]]

    def _own(self, name, float_ops):
        # An operation without a layer's name may be any part's.
        own = {layer.name for layer in self.parts[name].layers}
        return [op for op in float_ops if op.split()[1:] in ([], *([layer] for layer in own))]

    @functools.cached_property
    def _rewritten(self):
        lowering = lower.plan(self.model)
        return largest_differences(self.model, batch_size=2, data=self._data(2, 4, seed=1), lowering=lowering), lowering

    @functools.cached_property
    def _measured(self):
        content = to_int8(self.model, data=self._data(1, 256, seed=2))
        return measure(self.model, content, data=self._data(1, 48, seed=3))

    @functools.cached_property
    def _measured_quantization_aware(self):
        calibration, other = (list(self._data(1, count, seed=seed).values()) for count, seed in ((256, 2), (48, 3)))
        model = tfopt.calibrate(tfopt.quantize_aware(self.model), calibration, verbose=False)
        form = baked(model)
        names, own = ([spec.name for spec in specs_of(each)] for each in (form, model))
        content = to_int8(form, data=dict(zip(names, calibration, strict=True)))
        return measure(model, content, data=dict(zip(own, other, strict=True)))

    def _data(self, batch_size, count, **options):
        """Each part gets the numbers that it would get by itself."""
        drawn = [with_padding(part, draw(specs_of(part, batch_size), count, **options)) for part in self.parts.values()]
        return {name: array for arrays in drawn for name, array in arrays.items()}


def composite(module, model):
    """A model of one layer of the caller's own that holds the layers of `model`, or `model` itself if they are no chain."""

    class Composite(module.layers.Layer):
        def __init__(self, steps, **kwargs):
            super().__init__(**kwargs)
            self.steps = steps

        def call(self, inputs):
            for step in self.steps:
                inputs = step(inputs)
            return inputs

    steps, before = [layer for layer in model.layers if not isinstance(layer, module.layers.InputLayer)], model.input
    for step in steps:
        if step.input is not before or isinstance(step, module.layers.MultiHeadAttention):  # which is called with several tensors
            steps = [model]
            break
        before = step.output
    sources = [module.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in model.inputs]
    return module.Model(sources, Composite(steps)(sources[0] if len(sources) == 1 else sources))
