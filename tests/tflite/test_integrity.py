"""TFLite files that contradict themselves are refused before the runtime, which would die of them, sees them."""

import pytest
from ai_edge_litert import schema_py_generated as schema

import tfopt
from tfopt.tflite import flatbuffer, integrity


def edited(content, edit):
    import flatbuffers

    model = schema.ModelT.InitFromObj(flatbuffer.root(content))
    edit(model)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def first(model, name="tensors"):
    return getattr(model.subgraphs[0], name)[0]


EDITS = {
    "unknown type": (lambda model: setattr(first(model), "type", 99), "unknown type 99"),
    "buffer": (lambda model: setattr(first(model), "buffer", 999), "the buffer 999"),
    "negative size": (lambda model: setattr(first(model), "shape", [1, -8, 8, 1]), "the shape"),
    "huge": (lambda model: setattr(first(model), "shape", [1, 1 << 20, 1 << 20, 1]), "too large"),
    "op code": (lambda model: setattr(first(model, "operators"), "opcodeIndex", 77), "unknown code 77"),
    "tensor": (lambda model: setattr(first(model, "operators"), "inputs", [5000, 1, 2]), "tensors that do not exist"),
    "order": (lambda model: model.subgraphs[0].operators.reverse(), "tensors that nothing computes"),
    "stride": (lambda model: setattr(first(model, "operators").builtinOptions, "strideH", 0), "StrideH 0"),
    "signature": (lambda model: setattr(model.signatureDefs[0].outputs[0], "tensorIndex", 1 << 31), "tensors that do not exist"),
    "subgraph of a signature": (lambda model: setattr(model.signatureDefs[0], "subgraphIndex", 3), "subgraph 3"),
    "no graph": (lambda model: setattr(model, "subgraphs", []), "no subgraph"),
}


@pytest.mark.parametrize("edit, words", EDITS.values(), ids=EDITS)
def test_contradictions(converted, tmp_path, edit, words):
    content = edited(converted.tflite, edit)
    with pytest.raises(tfopt.LoadError, match=words):
        integrity.require_sound(content, "model.tflite")
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(tfopt.LoadError, match=f"model.tflite, with .*{words}"):
        tfopt.Interpreter(tmp_path / "model.tflite")


def test_a_sound_file_passes(converted):
    integrity.require_sound(converted.tflite, "model.tflite")
    integrity.require_sound(edited(converted.tflite, lambda model: None), "model.tflite")


def test_a_signature_without_a_name_names_nothing(converted):
    content = edited(converted.tflite, lambda model: setattr(model.signatureDefs[0], "signatureKey", ""))
    assert len(tfopt.Interpreter(content).output_names) == 1
