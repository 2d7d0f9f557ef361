"""Graphs that reach files, Python or the network are refused before they run."""

import pytest
import tensorflow as tf

import tfopt


@pytest.mark.parametrize(
    "reach",
    [
        lambda path: tf.io.write_file(path, "gotcha"),
        lambda path: tf.print("gotcha", output_stream=f"file://{path}"),
        lambda path: tf.raw_ops.SaveV2(prefix=path, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.zeros(3)]),
        lambda path: tf.raw_ops.DebugIdentityV2(input=tf.zeros(3), debug_urls=[f"file://{path}"]),
        lambda path: tf.numpy_function(lambda: 1.0, [], tf.float64),
    ],
    ids=["write_file", "print", "save", "debug", "python"],
)
def test_saved_model_that_reaches_files_or_python(tmp_path, flag, reach):
    class Reaching(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
        def serve(self, x):
            reach(str(flag))
            return x

    module = Reaching()
    tf.saved_model.save(module, str(tmp_path / "reaching"), signatures=module.serve)
    with pytest.raises(tfopt.UnsafeModelError, match=r"runs the op `\w+`, which reaches"):
        tfopt.load(tmp_path / "reaching")
