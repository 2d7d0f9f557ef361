"""House rules beside the contracts in setup.cfg: no private modules, no `tf.keras`, and nothing heavy is imported early."""

import ast
import pathlib
import subprocess
import sys

import pytest

import tfopt

PACKAGE = pathlib.Path(tfopt.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Modules that a command line's parent process imports: they must need nothing heavy.
LIGHT_MODULES = (
    "tfopt", "tfopt.errors", "tfopt.files", "tfopt.isolation", "tfopt.progress", "tfopt.request", "tfopt.cli",
    "tfopt.reporting.report", "tfopt.reporting.summary", "tfopt.conversion.settings", "tfopt.checking.settings",
    "tfopt.data.scaling", "tfopt.loading.options", "tfopt.launcher",
)  # fmt: skip
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
            yield node.module, id(node) not in inner
            yield from ((f"{node.module}.{alias.name}", id(node) not in inner) for alias in node.names)


@pytest.fixture(params=FILES, ids=module_name)
def file(request):
    return request.param


def test_doors(file):
    name = module_name(file)
    for imported, at_top in imports(ast.parse(file.read_text())):
        root = imported.partition(".")[0]
        if root in ("tf_keras", "tensorflow_model_optimization"):
            assert name.startswith("tfopt.keras2.") and not at_top, "Keras 2 has one room, and is imported inside functions"
        is_private = imported.startswith(("keras.src", "tensorflow.python"))
        assert not is_private or name == "tfopt.quantization.inside.operations", "private modules; the callback has one door"
        assert not imported.startswith("tensorflow.lite") or name == "tfopt.ptq.quantizer", "the quantizer has one door"
        if any(name == light or name.startswith(f"{light}.") for light in LIGHT_MODULES if light != "tfopt") or name == "tfopt":
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
            assert raises or module_name(file) == "tfopt.child_process", f"{file}:{node.lineno}"


def test_stage_packages_hold_a_docstring_only():
    for file in PACKAGE.glob("*/**/__init__.py"):
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
