"""An interpreter of a TFLite file that there is not: named tensors of given shapes, and given outputs."""

from tfopt.tflite.flatbuffer import Graph, Tensor


class FakeFile:
    """Stands for an `Interpreter`.

    Args:
        inputs: dict of input name -> shape with batch.
        outputs: dict of output name -> shape with batch.
        run: function from a batch, {input name: array}, to the list of outputs.
        scale: of the outputs, whose dtype is then int8; None for float32.
    """

    def __init__(self, inputs, outputs=(), run=None, scale=None):
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
        self.graph = Graph(tensors, (), tuple(self.input_indices), tuple(self.output_indices), 1)
        self.batch_size = shapes[0][0]
        self.run = run
