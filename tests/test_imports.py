"""The house rules: which file may import which, what is never used, and that nothing heavy is imported early."""

import ast
import pathlib
import subprocess
import sys

import pytest

import tfopt

PACKAGE = pathlib.Path(tfopt.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A file imports only from lower floors. Inside `conversion` the floors have fractions, as later stations use earlier ones.
FLOORS = {
    "tfopt": 0,
    "tfopt.errors": 0,
    "tfopt.files": 0.1,
    "tfopt.conversion": 0,
    "tfopt.reporting.report": 0.1,
    "tfopt.pruning": 0,
    "tfopt.pruning.schedules": 0.1,
    "tfopt.pruning.masks": 0.1,
    "tfopt.pruning.options": 0.2,
    "tfopt.keras_model.walk": 1,
    "tfopt.keras_model.functional_graph": 1.1,
    "tfopt.pruning.prunable_weights": 1.1,
    "tfopt.keras2.pruned_layers": 1.2,
    "tfopt.keras2.door": 1.3,
    "tfopt.pruning.masking": 2.0,
    "tfopt.pruning.callback": 2.1,
    "tfopt.pruning.prune": 2.1,
    "tfopt.pruning.sensitivity": 2.2,
    "tfopt.pruning.sparsity": 2.0,
    "tfopt.quantization": 0,
    "tfopt.keras2.quantized_layers": 1.2,
    "tfopt.quantization.weights": 2.0,
    "tfopt.quantization.simulate": 2.0,
    "tfopt.quantization.fake_quantize": 2.0,
    "tfopt.quantization.frozen": 2.0,
    "tfopt.quantization.wrapper": 2.1,
    "tfopt.quantization.bake": 2.2,
    "tfopt.quantization.quantized_model": 2.15,
    "tfopt.quantization.placement": 2.2,
    "tfopt.quantization.quantize_aware": 2.3,
    "tfopt.quantization.calibrate": 2.4,
    "tfopt.quantization.report": 2.4,
    "tfopt.distillation": 0,
    "tfopt.distillation.losses": 2.0,
    "tfopt.distillation.feature_losses": 2.1,
    "tfopt.distillation.normalization": 1.9,
    "tfopt.distillation.features": 2.0,
    "tfopt.distillation.guards": 2.1,
    "tfopt.distillation.low_rank": 2.0,
    "tfopt.distillation.drop_layers": 2.0,
    "tfopt.distillation.cache": 2.2,
    "tfopt.distillation.distiller": 2.3,
    "tfopt.distribution": 0,
    "tfopt.launcher.warden": 0.1,
    "tfopt.launcher.output": 0.1,
    "tfopt.launcher.rendezvous": 0.1,
    "tfopt.launcher.nodes": 0.2,
    "tfopt.launcher.workers": 0.2,
    "tfopt.launcher.launch": 0.3,
    "tfopt.distribution.cluster": 2.0,
    "tfopt.distribution.learning_rate": 2.0,
    "tfopt.distribution.place": 2.0,
    "tfopt.distribution.collective": 2.0,
    "tfopt.distribution.backup": 2.0,
    "tfopt.distribution.keras_repair": 2.0,
    "tfopt.distribution.statistics": 2.0,
    "tfopt.distribution.seeds": 2.1,
    "tfopt.distribution.empty_batches": 2.1,
    "tfopt.distribution.agreement": 2.1,
    "tfopt.distribution.fitting": 2.2,
    "tfopt.distribution.scope": 2.3,
    "tfopt.distribution.strategy": 2.4,
    "tfopt.reporting.environment": 3.0,
    "tfopt.isolation": 3.0,
    "tfopt.data.signature": 3.0,
    "tfopt.tflite.flatbuffer": 3.0,
    "tfopt.ptq.quantizer": 3.05,
    "tfopt.ptq.ranges": 3.0,
    "tfopt.ptq.channel_groups": 3.1,
    "tfopt.ptq.observe": 3.1,
    "tfopt.ptq.equalize": 3.2,
    "tfopt.ptq.bias_correction": 3.3,
    "tfopt.ptq.recipes": 3.35,
    "tfopt.ptq.search": 3.4,
    "tfopt.ptq.headroom": 3.4,
    "tfopt.data.files": 3.0,
    "tfopt.loading.model_file": 3.05,
    "tfopt.loading.safety": 3.1,
    "tfopt.data.samples": 3.1,
    "tfopt.data.representative": 3.1,
    "tfopt.tflite.integrity": 3.05,
    "tfopt.tflite.interpreter": 3.1,
    "tfopt.loading.h5.reachable": 3.0,
    "tfopt.loading.h5.keras1": 3.0,
    "tfopt.loading.h5.repair": 3.1,
    "tfopt.loading.h5.weights": 3.1,
    "tfopt.loading.h5.second_opinion": 3.1,
    "tfopt.loading.architecture": 3.1,
    "tfopt.loading.float32": 3.1,
    "tfopt.loading.h5.keras2": 3.2,
    "tfopt.loading.load": 3.25,
    "tfopt.lowering.activations": 3.0,
    "tfopt.lowering.other_layers": 3.0,
    "tfopt.lowering.attention": 3.0,
    "tfopt.lowering.recurrent": 3.0,
    "tfopt.lowering.lower": 3.1,
    "tfopt.tflite.editor": 3.05,
    "tfopt.tflite.delegate_edits": 3.06,
    "tfopt.checking.reference": 3.6,
    "tfopt.tflite.edits": 3.1,
    "tfopt.conversion.export": 3.5,
    "tfopt.tflite.op_audit": 3.2,
    "tfopt.conversion.settings": 3.6,
    "tfopt.checking.output_errors": 3.3,
    "tfopt.checking.benchmark": 3.3,
    "tfopt.checking.diagnoses": 3.6,
    "tfopt.checking.layer_calls": 3.6,
    "tfopt.checking.layer_match": 3.6,
    "tfopt.checking.layer_numbers": 3.65,
    "tfopt.checking.layer_errors": 3.66,
    "tfopt.conversion.trained_ranges": 3.7,
    "tfopt.checking.check": 3.7,
    "tfopt.checking.inspect": 3.4,
    "tfopt.conversion.result": 3.8,
    "tfopt.conversion.traced_model": 3.85,
    "tfopt.conversion.convert": 3.9,
    "tfopt.conversion.evaluation": 3.95,
    "tfopt.cli.demo": 4,
    "tfopt.cli.terminal": 4,
    "tfopt.cli.pipeline": 4.1,
    "tfopt.cli.main": 4.2,
    "tfopt.__main__": 4.3,
}
LIGHT = ("numpy", "keras", "tf_keras", "tensorflow", "h5py", "rich", "importlib.metadata", "ai_edge_litert")


def module_name(file):
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree):
    """(module, whether at module level) of every import; `if TYPE_CHECKING` blocks are left out."""
    inner = {id(node) for scope in ast.walk(tree) if isinstance(scope, ast.FunctionDef) for node in ast.walk(scope)}
    checking = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in checking:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in inner) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in FLOORS else node.module), id(node) not in inner


@pytest.fixture(params=FILES, ids=module_name)
def file(request):
    return request.param


def test_imports_only_from_lower_floors(file):
    name = module_name(file)
    assert name in FLOORS, f"{name} needs a floor in tests/test_imports.py"
    for imported, _ in imports(ast.parse(file.read_text())):
        if imported.partition(".")[0] == "tfopt" and imported != "tfopt":
            assert FLOORS[imported] < FLOORS[name], f"{name} imports {imported}"


def test_every_floor_has_a_file():
    assert set(FLOORS) == {module_name(file) for file in FILES}


def test_doors(file):
    name = module_name(file)
    for imported, at_top in imports(ast.parse(file.read_text())):
        root = imported.partition(".")[0]
        assert root != "click" or name == "tfopt.cli.main", "click belongs to cli.py"
        if root in ("tf_keras", "tensorflow_model_optimization"):
            assert name == "tfopt.keras2.door" and not at_top, "Keras 2 has one door, inside functions"
        assert not imported.startswith(("keras.src", "tensorflow.python")), "private modules"
        assert not imported.startswith("tensorflow.lite") or name == "tfopt.ptq.quantizer", "the quantizer has one door"
        if (FLOORS[name] < 1 and not name.startswith(("tfopt.pruning", "tfopt.quantization"))) or FLOORS[name] >= 4:
            assert not (at_top and imported.startswith(LIGHT)), f"{name} must stay light"
        assert root != "tensorflow" or not at_top, "TensorFlow is imported where it is needed"


def test_no_ambiguous_keras(file):
    attributes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
    assert not [
        node.lineno for node in attributes if node.attr == "keras" and getattr(node.value, "id", "") in ("tf", "tensorflow")
    ]


def test_broad_handlers_raise(file):
    """No silent second road: whoever catches everything raises again. The child's main loop answers the parent instead."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or getattr(node.type, "id", "") == "Exception"):
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            assert raises or module_name(file) == "tfopt.isolation", f"{file}:{node.lineno}"


def test_stage_packages_hold_a_docstring_only():
    for file in PACKAGE.glob("*/__init__.py"):
        tree = ast.parse(file.read_text())
        assert ast.get_docstring(tree) and len(tree.body) == 1, file


@pytest.mark.parametrize(
    "arguments",
    [[], ["convert"], ["check"], ["benchmark"], ["inspect"], ["prune"], ["demo"], ["launch"]],
    ids=lambda names: " ".join(names) or "tfopt",
)
def test_help_is_light(arguments):
    code = f"""
import sys
sys.argv = ["tfopt", *{arguments!r}, "--help"]
from tfopt.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in {LIGHT!r} if name in sys.modules]
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "Usage: tfopt" in finished.stdout


def test_import_tfopt_is_light():
    code = f"import sys, tfopt; sys.exit(', '.join(name for name in {LIGHT!r} if name in sys.modules) or 0)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_public_names_are_listed_alike():
    assert set(tfopt.__all__) == set(tfopt._MODULES)
    for name in tfopt.__all__:
        assert getattr(tfopt, name).__name__ in (name, f"tfopt.{name}")  # of a module, its whole name
