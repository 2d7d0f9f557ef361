"""An interpreter of a TFLite file that there is not: named tensors of given shapes, and given outputs."""

import dataclasses

from tfopt.tflite.flatbuffer import Graph, Operator, Tensor


class FakeFile:
    """Stands for an `Interpreter`.

    Args:
        inputs: dict of input name -> shape with batch.
        outputs: dict of output name -> shape with batch.
        run: function from a batch, {input name: array}, to the list of outputs.
        scale: of the outputs, whose dtype is then int8; None for float32.
        dtype: of the outputs instead.
        writer: name of the operation that computes the outputs.
        joined: sizes along the last axis of the tensors that a CONCATENATION joins to the outputs.
    """

    def __init__(self, inputs, outputs=(), run=None, scale=None, *, dtype=None, writer=None, joined=()):
        self.input_names, self.output_names = list(inputs), list(outputs)
        shapes = [*inputs.values(), *dict(outputs).values()]
        roles = ["input"] * len(inputs) + ["output"] * len(self.output_names)
        kinds = [("int8", (scale,), (0,)) if scale and role == "output" else ("float32", (), ()) for role in roles]
        named = zip([*self.input_names, *self.output_names], shapes, roles, kinds, strict=True)
        tensors = tuple(
            Tensor(index, name, tuple(shape), dtype, role, scales, zeros)
            for index, (name, shape, role, (dtype, scales, zeros)) in enumerate(named)
        )
        self.input_indices, self.output_indices = list(range(len(inputs))), list(range(len(inputs), len(tensors)))
        operators = []
        for index in self.output_indices:
            if dtype:
                tensors = (*tensors[:index], dataclasses.replace(tensors[index], dtype=dtype), *tensors[index + 1 :])
            sources = tuple(range(len(tensors), len(tensors) + len(joined)))
            whole = tensors[index]
            sizes = zip(sources, joined, strict=True)
            tensors += tuple(
                dataclasses.replace(whole, index=source, shape=(*whole.shape[:-1], size), role="activation")
                for source, size in sizes
            )
            operators += [Operator(writer, (0,), (source,)) for source in sources if writer]
            operators += [Operator("CONCATENATION", sources, (index,))] if joined else []
            operators += [Operator(writer, (0,), (index,))] if writer and not joined else []
        self.graph = Graph(tensors, tuple(operators), tuple(self.input_indices), tuple(self.output_indices), 1)
        self.batch_size = shapes[0][0]
        self.run = run
