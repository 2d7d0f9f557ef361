"""What int8 keeps when it is calibrated with few samples: the ranges that were seen, and with the room that tfopt adds.

    python tools/accuracy_few_samples.py [--draws 5]

Real data, which scikit-learn carries: diabetes (442 rows of 10 numbers, a regression) in a perceptron of 32 and 32 units with ELU;
digits (1,797 images of 8 x 8) in a perceptron of 64 and 32 units, in a GRU of 32 units that reads them row by row, and in an
attention block. A quarter of the samples is for testing; each net trains on the others for 30 epochs and is calibrated with some of
them, drawn anew 5 times.

Printed: SQNR of the outputs on the test part, in dB, as mean (least) over the draws, without and with `wider_ranges`.
"""

import argparse
import os

COUNTS = (20, 50, 100, 200, 1000)


def make_models(keras):
    """Yields (name, model, inputs, targets, loss)."""
    import numpy as np
    from sklearn import datasets

    layers = keras.layers
    features, progression = datasets.load_diabetes(return_X_y=True)
    images, labels = datasets.load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 8, 8).astype("float32")
    features = (features / features.std(axis=0)).astype("float32")
    progression = ((progression - progression.mean()) / progression.std()).astype("float32")
    classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def perceptron(shape, activation, units, outputs):
        dense = [layers.Dense(count, activation) for count in units]
        return keras.Sequential([keras.Input(shape), layers.Flatten(), *dense, layers.Dense(outputs)])

    def attention():
        rows = keras.Input((8, 8))
        x = layers.Dense(16)(rows)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(layers.LayerNormalization()(x), x)])
        return keras.Model(rows, layers.Dense(10)(layers.GlobalAveragePooling1D()(layers.Dense(32, "gelu")(x))))

    yield "diabetes, perceptron", perceptron((10,), "elu", (32, 32), 1), features, np.asarray(progression)[:, None], "mse"
    yield "digits, perceptron", perceptron((8, 8), "relu", (64, 32), 10), images, labels, classes
    yield "digits, GRU", keras.Sequential([keras.Input((8, 8)), layers.GRU(32), layers.Dense(10)]), images, labels, classes
    yield "digits, attention", attention(), images, labels, classes


def measure(model, samples, unseen, skip):
    """SQNR of the int8 file, calibrated with `samples`, on others, in dB."""
    import numpy as np

    import tfopt
    from tfopt.conversion import export
    from tfopt.data import signature
    from tfopt.lowering import lower
    from tfopt.lowering.trace import trace_model

    (spec,) = specs = signature.fix_sizes(signature.input_specs(model), 1)
    traced = trace_model(model, specs, lower.plan(model))
    content = export.to_tflite(traced, export.Variant("int8"), samples={spec.name: samples}, skip_lowering=skip).content
    wanted, found = model.predict(unseen, verbose=0), tfopt.Interpreter(content)(unseen)
    return 10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum())


def main():
    """Trains, calibrates, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=5, help="of the representative samples")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import numpy as np

    from tfopt.ptq import headroom

    keras.utils.set_random_seed(0)
    print("| model | samples | ranges as seen | with room | gain |\n| --- | --- | --- | --- | --- |")
    for name, model, x, y, loss in make_models(keras):
        order = np.random.default_rng(0).permutation(len(x))
        test, train = np.split(order, [len(x) // 4])
        model.compile(keras.optimizers.Adam(3e-3), loss)
        model.fit(x[train], y[train], epochs=30, verbose=0)
        for count in COUNTS:
            if count > len(train):
                continue
            draws = [np.random.default_rng(seed).choice(train, count, replace=False) for seed in range(arguments.draws)]
            before, after = ([measure(model, x[rows], x[test], skip) for rows in draws] for skip in ((headroom.NAME,), ()))
            cells = [f"{np.mean(each):.1f} ({min(each):.1f})" for each in (before, after)]
            print(f"| {name} | {count} | {cells[0]} | {cells[1]} | {np.mean(after) - np.mean(before):+.1f} |", flush=True)


if __name__ == "__main__":
    main()
