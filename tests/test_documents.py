"""README.md and docs/: every block runs, in the order of its page, every link leads somewhere, and names are those of the code."""

import configparser
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from document_blocks import INDEX, PAGES, ROOT, anchors, blocks, commands, links, name_of, prose, title

from tfopt import isolation
from tfopt.checking.diagnoses import CAUSES
from tfopt.cli.main import cli
from tfopt.conversion.settings import QUANTIZATIONS
from tfopt.lowering.lower import RULES
from tfopt.ptq.headroom import NAME as WIDER_RANGES
from tfopt.tflite.edits import EDITS

# First lines of the blocks that do not run here: they need other machines or devices, Colab, the network, or many minutes.
NOT_RUN = {
    "README.md": ["tools/demo.sh", "tfopt launch -n 2 train.py"],
    "docs/benchmarks.md": ["python tools/bench_convert.py"],
    "docs/clusters.md": ["tfopt launch --nodes 2", "%pip install -q tfopt", "%pip install -q tfopt", "import tfopt"],
    "docs/developers.md": ["tools/test.sh"],
    "docs/distributed-training.md": ["python docs/train.py", "placed = tfopt.place("],
    "docs/launch.md": ["tfopt launch -n 2 --max-restarts", "tfopt launch -n 2 --nodes 2"],
    "docs/scaling.md": ["python tools/bench_distribution.py"],
    "docs/security.md": ["python tools/fuzz_load.py"],
}

PAGES_THAT_RUN = [page for page in PAGES if page != INDEX and any(block.runs for block in blocks(page))]  # the index is the setting
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """(names, folder) after the block of docs/README.md with which every page begins, and a few images."""
    isolation.end_warm_children()  # they would run in the folder in which they were started
    folder = tmp_path_factory.mktemp("setting")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names = run_python({}, *[block for block in blocks(INDEX) if block.runs])
    (folder / "images").mkdir()
    for index, image in enumerate(names["x_train"][:30]):
        keras.utils.save_img(folder / "images" / f"{index}.png", 255 * image, scale=False)
    return names, folder


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The folder in which all pages run, one after the other."""
    return tmp_path_factory.mktemp("workplace")


def run_python(names, *several):
    """Executes blocks in one namespace, which is returned; tracebacks name the line of the page."""
    for block in several:
        code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
        exec(code, names)
    return names


def run_command(words):
    """Runs one line of a shell block."""
    assert words[0] == "tfopt", "other programs are not run: fence the block as `sh not-run`"
    if words[1] == "launch":  # takes over signals and standard output, and has no use for a warm process
        finished = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=120)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout
    with pytest.raises(SystemExit) as end:
        sys.exit(cli.main(words[1:], prog_name="tfopt", standalone_mode=False))
    assert not end.value.code, words
    return ""


@pytest.fixture
def names(setting, workplace, monkeypatch):
    """The names of the setting, in a folder with its files alone and an untouched model."""
    given, folder = setting
    for path in workplace.iterdir():  # not the folder itself, in which the warm child runs
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(folder, workplace, dirs_exist_ok=True)
    monkeypatch.chdir(workplace)
    monkeypatch.syspath_prepend(workplace)  # as for a script in this folder
    keras.utils.set_random_seed(0)
    return {**given, "model": keras.saving.load_model("model.keras")}


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=name_of(page), marks=[] if page == PAGES[0] else pytest.mark.slow) for page in PAGES_THAT_RUN]
)
def test_every_block_runs(page, names):
    said = ""
    for block in blocks(page):
        if block.file:
            pathlib.Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.runs and block.language == "python":
            run_python(names, block)
        elif block.runs:
            said = "".join(run_command(words) for words in commands(block))
        elif block.language == "text" and said:  # what the launcher prints, whose lines may come in another order
            assert sorted(block.text.splitlines()) == sorted(said.splitlines())
            said = ""
    for block in blocks(page):
        sys.modules.pop(block.file.removesuffix(".py"), None)


def test_blocks_that_do_not_run_are_known():
    """A block that says `not-run` is listed above, and nothing else is."""
    found = {}
    for page in PAGES:
        for block in blocks(page):
            if not block.runs and not block.file and block.language != "text":
                found.setdefault(name_of(page), []).append(block.text.splitlines()[0])
    assert found.keys() == NOT_RUN.keys()
    for page, first_lines in found.items():
        assert len(first_lines) == len(NOT_RUN[page]), page
        assert all(line.startswith(known) for line, known in zip(first_lines, NOT_RUN[page], strict=True)), first_lines


@each_page
def test_commands_that_do_not_run_are_understood(page):
    """click takes the options of `tfopt`, and scripts exist and know theirs."""
    for block in blocks(page):
        for words in commands(block) if block.language == "sh" and not block.runs else []:
            program, *arguments = words
            if program == "tfopt":
                cli.commands[arguments[0]].make_context(arguments[0], arguments[1:])
                continue
            script = ROOT / (arguments[0] if program == "python" else program)
            assert script.is_file(), words
            unknown = [word for word in arguments if word.startswith("--") and word not in script.read_text(encoding="utf-8")]
            assert not unknown, words


@each_page
def test_python_that_does_not_run_is_python(page):
    for block in blocks(page):
        if block.language == "python" and not block.runs:
            without_magic = "\n".join("" if line.startswith("%") else line for line in block.text.splitlines())
            compile(without_magic, f"{page}:{block.line}", "exec")


@each_page
def test_links_lead_somewhere(page):
    for text, path, anchor in links(page):
        assert path.exists(), f"[{text}] leads to {path}"
        assert not anchor or anchor in anchors(path), f"[{text}] leads to #{anchor}, {path} has {sorted(anchors(path))}"


@pytest.mark.parametrize("index", [PAGES[0], INDEX], ids=name_of)
def test_indices_list_every_page_by_its_title(index):
    rows = re.findall(r"^\| \[(.+?)\]\((.+?)\) \|", prose(index), re.MULTILINE)
    listed = {(index.parent / path).resolve(): text for text, path in rows}
    assert listed == {page: title(page) for page in PAGES if page not in (PAGES[0], INDEX)}


def test_readme_is_short():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) < 200


@each_page
def test_files_that_are_named_exist(page):
    """Paths of this repository, in backquotes. Those of a table of docs/developers.md leave out `tfopt/` or `tests/`."""
    roots = [ROOT, ROOT / "tfopt", ROOT / "tests"] if page.name == "developers.md" else [ROOT]
    named = re.findall(r"`((?:[\w.]+/)*[\w.]+\.(?:py|sh|cfg|sbatch|yaml|ipynb))`", prose(page))
    for path in named:
        own = path.startswith(("tfopt/", "tests/", "tools/", "docs/", "notebooks/")) or len(roots) > 1
        assert not own or any((root / path).is_file() for root in roots), f"{name_of(page)} names {path}"


def test_workarounds_are_where_the_table_says():
    """Functions, classes, and tests beside a path are defined in that file."""
    table = (ROOT / "docs" / "developers.md").read_text(encoding="utf-8").split("## Workarounds", 1)[1]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        where, condition = cells[2:] if len(cells) == 4 else ("", "")
        files = [ROOT / "tfopt" / path for path in re.findall(r"`([\w/]+\.py)`", where)]
        code = "\n".join(path.read_text(encoding="utf-8") for path in files)
        for name in re.findall(r"`([A-Za-z_]+)`", where):
            assert re.search(rf"\b(def|class) {name}\b", code), f"{name} is not in {where}"
        for name in re.findall(r"`(test_\w+)`", condition):
            (path,) = re.findall(r"`([\w/]+/test_\w+\.py)`", condition)
            assert f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), f"{name} is not in {path}"


def test_rooms_and_floors_are_those_of_the_package():
    page = ROOT / "docs" / "developers.md"
    rooms = set(re.findall(r"^\| `tfopt/(\w+)/` \|", prose(page), re.MULTILINE))
    assert rooms == {path.parent.name for path in (ROOT / "tfopt").glob("*/__init__.py")}
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    layers = setup["importlinter:contract:floors"]["layers"].replace("tfopt.", "").split("\n")
    assert "\n".join(filter(None, layers)) + "\n" in [block.text for block in blocks(page)]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("layers.md", {*RULES, *EDITS, WIDER_RANGES}),
        ("check-failed.md", CAUSES),
        ("command-line.md", {f"tfopt {command} " for command in cli.commands if command != "demo"} | {"tfopt demo"}),
        ("convert.md", {f'"{kind}"' for kind in QUANTIZATIONS}),
    ],
    ids=["rewritings", "causes", "commands", "kinds"],
)
def test_pages_name_all_there_is(page, names):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}" not in text] == []


def test_the_setting_is_that_of_a_good_model(setting):
    """What the pages print is worth reading."""
    names, _ = setting
    assert names["model"].evaluate(names["x_test"], names["y_test"], verbose=0)[1] > 0.95
    assert names["x_train"].dtype == np.float32
