"""Real `.h5` files of six Keras generations: each computes what its writer computed, or asks for what it lacks and then does,
and keeps to it in int8.
"""

import dataclasses
import re

import numpy as np
import pytest
from legacy_models import FILES, load_with_answers, read_arrays

import tfopt
from tfopt.conversion import export
from tfopt.data import signature
from tfopt.lowering import lower
from tfopt.lowering.trace import float_ids, trace_model
from tfopt.tflite import op_audit


def one_of_each_kind():
    """A file of each kind of model, the generations in turn."""
    chosen = []
    for index, kind in enumerate(sorted({path.stem for path in FILES})):
        files = [path for path in FILES if path.stem == kind]
        chosen.append(files[index % len(files)])
    return chosen


CHOSEN = one_of_each_kind()


def name_of(path):
    return f"{path.parent.name}/{path.stem}"


def require_int8(model, inputs):
    """Converts to int8 without any float op and at least 20 dB on the file's own inputs, repeated with noise."""
    generator = np.random.default_rng(0)

    def noisy(array):
        repeated = np.repeat(array, 32, axis=0)
        noise = generator.normal(size=repeated.shape) * 0.1 * array.std()
        return repeated if array.dtype.kind == "i" else (repeated + noise).astype("float32")

    specs = signature.input_specs(model)
    batch = specs[0].shape[0] or 1
    shapes = {spec.name: array.shape[1:] for spec, array in zip(specs, inputs, strict=True)}
    specs = signature.fix_sizes(specs, batch, shapes)
    lowering = lower.plan(model)
    traced = trace_model(model, specs, lowering)
    if ids := float_ids(traced):
        specs = [dataclasses.replace(spec, dtype="int32") if spec.name in ids else spec for spec in specs]
        traced = trace_model(model, specs, lowering)
    calibration, checked = ({spec.name: noisy(array) for spec, array in zip(specs, inputs, strict=True)} for _ in range(2))
    content = export.to_tflite(traced, export.Variant("int8"), samples=calibration).content
    interpreter, reference = tfopt.Interpreter(content), trace_model(model, specs) if lowering.touched else traced
    assert not op_audit.examine(interpreter, quantization="int8").float_ops
    checked = {name: array[:64] for name, array in checked.items()}
    batches = [{name: array[start : start + batch] for name, array in checked.items()} for start in range(0, 64, batch)]
    wanted = [np.concatenate(outputs) for outputs in zip(*map(reference, batches), strict=True)]
    for output, right in zip(interpreter.run(checked), wanted, strict=True):
        assert 10 * np.log10((right**2).sum() / ((right - output) ** 2).sum()) >= 20


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[] if path in CHOSEN else pytest.mark.slow, id=name_of(path)) for path in FILES]
)
def test_legacy_file_computes_what_its_writer_computed(path):
    model, steps = load_with_answers(path)
    inputs, expected = read_arrays(path)
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    for output, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, wanted, atol=1e-2 if path.stem == "mixed_float16" else 1e-4)
    counts = re.fullmatch(r"verified: (\d+) of (\d+) weights assigned once.*", steps[-1])
    assert counts and counts[1] == counts[2], steps
    if path.stem == "mixed_float16":
        assert any("rebuilt under float32" in step for step in steps)
        assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    if path in CHOSEN:
        require_int8(model, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in FILES if path not in CHOSEN], ids=name_of)
def test_the_other_files_keep_to_it_in_int8_too(path):
    require_int8(load_with_answers(path)[0], read_arrays(path)[0])


def test_the_corpus_is_whole():
    assert len(FILES) == 188 and len({path.parent.name for path in FILES}) == 6
    assert len(CHOSEN) == 40 and {path.parent for path in CHOSEN} == {path.parent for path in FILES}
