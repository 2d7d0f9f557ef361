"""The fenced blocks, links and headings of README.md and the pages under docs/."""

import dataclasses
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).parents[1]
INDEX = ROOT / "docs" / "README.md"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE = re.compile(r"^ *```(.*)$")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: path of the page.
        line: int, the number of its first line in the page, from 1 on.
        language: str, "python", "sh" or "text".
        runs: bool, whether it is executed; "not-run" after the language says that it is not.
        file: str, the file that the block is the content of; empty for others.
        text: str.
    """

    page: pathlib.Path
    line: int
    language: str
    runs: bool
    file: str
    text: str


def name_of(page):
    """The path of a page from the root of the repository on."""
    return page.relative_to(ROOT).as_posix()


def blocks(page):
    """All blocks of a page, in order."""
    found, opened = [], None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and opened is None:
            opened = number, fence[1].split(), []
        elif fence:
            first, words, lines = opened
            found.append(_block(page, first + 1, words, lines))
            opened = None
        elif opened is not None:
            opened[2].append(line)
    assert opened is None, f"{name_of(page)}: the last block has no end"
    return found


def _block(page, line, words, lines):
    language, *rest = words or [""]
    where = f"{name_of(page)}:{line - 1}"
    assert language in ("python", "sh", "text"), f"{where}: a block is fenced as python, sh or text"
    file = "".join(word.removeprefix("file=") for word in rest if word.startswith("file="))
    known = [["not-run"], []] + ([[f"file={file}"]] if language == "python" else [])
    assert rest in known and (language != "text" or not rest), f"{where}: unknown words after the fence: {rest}"
    return Block(page, line, language, rest == [] and language != "text", file, "\n".join(lines) + "\n")


def commands(block):
    """The commands of a shell block: lists of str; backslashes continue lines, comments are left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def prose(page):
    """The lines of a page outside its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def title(page):
    """The first heading."""
    return re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)[1]


def anchors(page):
    """What links to the headings of a page end with, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(page):
    """(text, path or None for the page itself, anchor) of every link that leads into the repository."""
    for text, target in re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield " ".join(text.split()), (page.parent / path).resolve() if path else page, anchor
