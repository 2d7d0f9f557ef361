"""Several small models as one with as many outputs, so that they are traced and converted once.

The parts share neither inputs nor weights, so that a part computes, and is quantized, as it would be by itself.
"""

import functools

import numpy as np
from seeded_models import KERAS, draw, largest_differences, measure, seeded, specs_of, to_int8

from tfopt.keras_model.walk import walk_layers, walk_operations
from tfopt.lowering import lower


def with_masked_steps(model, data):
    """Some steps are all zero, at the beginning, within and at the end, if the model masks such steps."""
    if any(type(layer).__name__ == "Masking" for layer in model.layers):
        for array in data.values():
            array[::2, :2], array[1::2, 3:] = 0, 0
    return data


class JoinedModels:
    """The models of some of `lowering_cases.CASES`, all of one Keras.

    Args:
        cases: tuples (name, kind of Keras, function that builds the model, rule).
    """

    def __init__(self, cases):
        self.parts = {name: seeded(build, kind) for name, kind, build, _ in cases}
        inputs = [tensor for part in self.parts.values() for tensor in part.inputs]
        outputs = [tensor for part in self.parts.values() for tensor in part.outputs]
        self.model = KERAS[cases[0][1]].Model(inputs, outputs)
        ends = np.cumsum([len(part.outputs) for part in self.parts.values()]).tolist()
        self._outputs = {
            name: slice(end - len(part.outputs), end) for (name, part), end in zip(self.parts.items(), ends, strict=True)
        }

    def touched(self, name, rule):
        """Whether a rule rewrites something in a part."""
        part = self.parts[name]
        own = {layer.name for layer in (*walk_layers(part), *walk_operations(part))}
        return bool(own & set(self._rewritten[1].touched.get(rule, ())))

    def difference(self, name):
        """Between the outputs of a part and those of its rewritten form, in units of the largest output."""
        return max(self._rewritten[0][self._outputs[name]])

    def int8(self, name):
        """(names of the float ops, dB of each output) of a part's int8 file."""
        float_ops, decibel = self._measured
        own = {layer.name for layer in self.parts[name].layers}
        # An operation without a layer's name may be any part's.
        return [op for op in float_ops if op.split()[1:] in ([], *([layer] for layer in own))], decibel[self._outputs[name]]

    @functools.cached_property
    def _rewritten(self):
        lowering = lower.plan(self.model)
        data = self._data(2, 4, seed=1, high=3)  # often the id 0, which is masked
        return largest_differences(self.model, batch_size=2, data=data, lowering=lowering), lowering

    @functools.cached_property
    def _measured(self):
        content = to_int8(self.model, data=self._data(1, 256, seed=2))
        return measure(self.model, content, data=self._data(1, 48, seed=3))

    def _data(self, batch_size, count, **options):
        """Each part gets the numbers that it would get by itself."""
        drawn = [with_masked_steps(part, draw(specs_of(part, batch_size), count, **options)) for part in self.parts.values()]
        return {name: array for arrays in drawn for name, array in arrays.items()}
