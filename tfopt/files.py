"""Write several files, or none: each goes to a temporary name first and is renamed when all are complete."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterable, Mapping

from tfopt.errors import OutputError

PathLike = str | os.PathLike[str]


def require_writable(paths: Iterable[PathLike], *, overwrite: bool = False) -> None:
    """Raises `OutputError` now, before hours of work, if `write` could not write these files later.

    Args:
        paths: paths of the files to write.
        overwrite: whether existing files may be replaced.
    """
    for path in map(pathlib.Path, paths):
        try:
            path.exists()
        except OSError as error:
            raise OutputError(f"The output must be a possible file name. Received: {path} ({error.strerror}).") from error
        if path.is_dir():
            raise OutputError(f"The output must be a file. Received: {path}, which is a folder. Give a file name in it.")
        if path.exists() and not overwrite:
            raise OutputError(
                f"The output file must not exist yet. Received: {path}. Give another name, or overwrite it with --force "
                "(Python: overwrite=True)."
            )
        folder = path.parent
        if not folder.is_dir():
            raise OutputError(f"The output folder must exist. Received: {folder}. Create it first.")
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OutputError(
                f"The output folder must be writable. Received: {folder} ({error.strerror or error}). Choose another one."
            ) from error


def write(
    contents: Mapping[PathLike, bytes] | Mapping[str, bytes] | Mapping[pathlib.Path, bytes], *, overwrite: bool = False
) -> None:
    """Writes all of `contents` ({path: bytes}), or leaves the folder as it was and raises `OutputError`."""
    require_writable(contents, overwrite=overwrite)
    temporary: dict[str, pathlib.Path] = {}
    old: dict[pathlib.Path, bytes | None] = {}
    made: list[pathlib.Path] = []
    try:
        for given, content in contents.items():
            path = pathlib.Path(given)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            temporary[name] = path
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
        old = {path: path.read_bytes() if path.exists() else None for path in temporary.values()}
        try:
            for name, path in temporary.items():
                os.replace(name, path)
                made.append(path)
        except BaseException:
            for path in made:
                before = old[path]
                path.unlink() if before is None else path.write_bytes(before)
            raise
    except OSError as error:
        raise OutputError(
            f"All of {', '.join(str(path) for path in contents)} must be written. Received: {error.strerror or error}. "
            "Free some space or choose another folder; nothing was left behind."
        ) from error
    finally:
        for name in temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


def sha256(path: PathLike) -> str | None:
    """The SHA-256 of a file in hexadecimal; None for a folder or a missing file."""
    path = pathlib.Path(path)
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
