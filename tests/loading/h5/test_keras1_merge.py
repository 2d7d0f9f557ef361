"""A `Sequential` of merged branches, as Keras 1 had it, computes the same."""

import numpy as np
from h5_files import layer, write

import tfopt


def test_keras_1_sequential_of_merged_branches(tmp_path, random):
    first, second, last = [(random(4, 3), random(3)) for _ in range(2)] + [(random(6, 2), random(2))]

    def dense(name, units=3, **more):
        return layer("Dense", name, output_dim=units, init="one", activation="linear", **more)

    branches = [
        {"class_name": "Sequential", "config": [dense("a", batch_input_shape=[None, 4], input_dtype="float32")]},
        {
            "class_name": "Sequential",
            "config": [dense("b", batch_input_shape=[None, 4]), layer("Activation", "t", activation="tanh")],
        },
    ]
    layers = [layer("Merge", "m", mode="concat", concat_axis=1, layers=branches), dense("o", 2)]
    weights = {name: [(f"{name}_W:0", w), (f"{name}_b:0", b)] for name, (w, b) in zip("abo", (first, second, last), strict=True)}
    model = tfopt.load(write(tmp_path / "merge.h5", layers, weights, keras_version="1.0.4"))
    x1, x2 = random(5, 4), random(5, 4)
    expected = np.concatenate([x1 @ first[0] + first[1], np.tanh(x2 @ second[0] + second[1])], 1) @ last[0] + last[1]
    np.testing.assert_allclose(model([x1, x2]), expected, atol=1e-5)
