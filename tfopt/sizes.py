"""How much memory the content of a file may take: bounded before it is read, against the size of the file and free memory."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterable

from tfopt.errors import LoadError, TfoptError
from tfopt.files import PathLike

SMALL = 256 << 20
"""Bytes that the content of any file may take, however small the file is."""

GROWTH = 100
"""How many times its size the content of a file may take beyond `SMALL`. Weights grow 1 to 10 times, photographs 10 to 30 times."""

REMEDY = "If you trust the writer of the file, lift the bound with --allow-large (Python: allow_large=True)."
"""The remedy in messages about sizes."""
_JSON = 32  # bytes of Python objects for a byte of JSON, at most: "[]," is a list


def require_room(needed: float, stored: int, what: str, *, allow_large: bool, path: PathLike) -> None:
    """Raises an error if the content of a model file takes more memory than such a file should, or than is free.

    Example: `require_room(10 << 30, 1 << 20, "the array 'x'", allow_large=False, path="model.h5")` raises.

    Args:
        needed: bytes of the content in memory.
        stored: bytes of the file.
        what: the content, a phrase.
        allow_large: whether nothing is bounded.
        path: of the file.

    Raises:
        LoadError: the content is too large.
    """
    require_growth(needed, stored, what, allow_large=allow_large, path=path)
    require_memory(needed, what, allow_large=allow_large, path=path)


def require_growth(
    needed: float, stored: int, what: str, *, allow_large: bool, path: PathLike, error: type[TfoptError] = LoadError
) -> None:
    """Raises `error` if content takes more than `SMALL` bytes and more than `GROWTH` times the size of its file."""
    if not allow_large and needed > max(SMALL, GROWTH * stored):
        raise error(
            f"A file whose content grows to at most {GROWTH} times its size is required. Received: {path}, in which {what} takes "
            f"{_amount(needed)}, stored in {_amount(stored)}; it was not read. {REMEDY}"
        )


def require_memory(needed: float, what: str, *, allow_large: bool, path: PathLike, error: type[TfoptError] = LoadError) -> None:
    """Raises `error` if content takes more memory than is free."""
    if not allow_large and needed > (free := free_memory()):
        raise error(
            f"A file whose content fits the free memory is required. Received: {path}, in which {what} takes {_amount(needed)}, "
            f"where {_amount(free)} are free; it was not read. {REMEDY}"
        )


def json_room(characters: int) -> int:
    """The bytes that JSON of so many characters takes at most as Python objects."""
    return _JSON * characters


def array_room(shape: Iterable[int], itemsize: int) -> int:
    """The bytes of an array, without overflow."""
    return math.prod(int(size) for size in shape) * itemsize


def free_memory() -> float:
    """The bytes that this process can still take: of the machine and of its control group; infinity where neither is told."""
    return min(_free_of_machine(), _free_of_group())


def _free_of_machine() -> float:
    try:
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError):
        pass
    return math.inf


def _free_of_group() -> float:
    folder = pathlib.Path("/sys/fs/cgroup")
    try:
        most, taken = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return most - taken + int(facts.get("file", 0))  # pages of files are given back
    except (OSError, ValueError):  # no such file, or "max"
        return math.inf


def _amount(count: float) -> str:
    if math.isinf(count):
        return "more memory than that"
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"
