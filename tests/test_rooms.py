"""The size of rooms, files and signatures: small enough to be read at once."""

import ast
import collections
import pathlib
import statistics

import tfopt

PACKAGE = pathlib.Path(tfopt.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ENTRANCES = [file for file in FILES if file.name == "__init__.py" and file.parent != PACKAGE]
MOST_FILES, MOST_LINES, MEDIAN_LINES, MOST_PARAMETERS = 14, 300, 130, 6
FILES_OF_CONVERSION = 10


def lines_of(file):
    return len(file.read_text().splitlines())


def listed(offenders):
    return "\n" + "\n".join(sorted(map(str, offenders)))


def test_no_room_has_many_files():
    counts = collections.Counter(file.parent.relative_to(PACKAGE.parent) for file in FILES)
    crowded = [f"{room}: {count} files" for room, count in counts.items() if count > MOST_FILES]
    assert not crowded, listed(crowded)
    assert counts[pathlib.Path("tfopt/conversion")] <= FILES_OF_CONVERSION


def test_files_are_short():
    lengths = {file.relative_to(PACKAGE.parent): lines_of(file) for file in FILES if lines_of(file)}
    long = [f"{file}: {length} lines" for file, length in lengths.items() if length > MOST_LINES]
    assert not long, listed(long)
    assert statistics.median(lengths.values()) <= MEDIAN_LINES


def test_each_room_says_in_a_docstring_what_it_is_for():
    assert {entrance.parent for entrance in ENTRANCES} == {file.parent for file in FILES} - {PACKAGE}
    others = []
    for entrance in ENTRANCES:
        tree = ast.parse(entrance.read_text())
        if not ast.get_docstring(tree) or len(tree.body) != 1:
            others.append(entrance.relative_to(PACKAGE.parent))
    assert not others, "these must hold a docstring and nothing else:" + listed(others)


def public_functions():
    """(file, name) of the functions that users call, with `Class.__init__` for classes: their options are keywords."""
    functions = [(f"{tfopt._MODULES[name].replace('.', '/')}.py", name) for name in tfopt.__all__]
    functions += [
        (f"{function.__module__.replace('.', '/')}.py", function.__name__) for function in map(legacy, tfopt.legacy.__all__)
    ]
    return {*functions, *((file, f"{name}.__init__") for file, name in functions)}


def legacy(name):
    return getattr(tfopt.legacy, name)


def functions_in(tree, around=""):
    """Yields (qualified name, node) of each function, those inside others included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{around}{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield name, node
            yield from functions_in(node, f"{name}.")
        else:
            yield from functions_in(node, around)


def parameters_of(function):
    """Names of the parameters, without the object that a method belongs to."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return [each.arg for each in every if each.arg not in ("self", "cls")]


def is_command(function):
    """Whether click calls it, with one parameter for each option of the command line."""
    calls = [each.func for each in function.decorator_list if isinstance(each, ast.Call)]
    return any(isinstance(each, ast.Attribute) and each.attr in ("command", "group") for each in calls)


def test_functions_take_few_parameters():
    public, many, met = public_functions(), [], set()
    for file in FILES:
        path = file.relative_to(PACKAGE.parent).as_posix()
        for name, function in functions_in(ast.parse(file.read_text())):
            met.add((path, name))
            count = len(parameters_of(function))
            if count > MOST_PARAMETERS and (path, name) not in public and not is_command(function):
                many.append(f"{path}:{function.lineno} {name}: {count} parameters")
    assert {("tfopt/conversion/convert.py", "convert"), ("tfopt/keras2/prune.py", "prune")} <= public & met
    assert not many, listed(many)
