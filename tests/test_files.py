"""Files are written all or not at all, and existing ones stay unless they are to be overwritten."""

import errno
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

import tfopt
from tfopt import files


def contents(folder):
    """What lies in a folder, hidden files included: {name: bytes, None for folders}."""
    return {path.name: None if path.is_dir() else path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_writes_all(kind, tmp_path):
    files.write({kind(tmp_path / "a.tflite"): b"a" * 100_000, kind(tmp_path / "b.json"): b""})
    assert contents(tmp_path) == {"a.tflite": b"a" * 100_000, "b.json": b""}


def test_writes_into_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write({"a.tflite": b"a"})
    assert contents(tmp_path) == {"a.tflite": b"a"}


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)], ids=["for all", "private"])
def test_files_can_be_read_by_whom_the_user_wants(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        files.write({tmp_path / "a": b"a"})
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("existing", [["a"], ["b"], ["a", "b"]], ids=" and ".join)
def test_overwrites_only_on_request(existing, tmp_path):
    for name in existing:
        (tmp_path / name).write_bytes(b"old")
    before = contents(tmp_path)
    new = {tmp_path / "a": b"new a", tmp_path / "b": b"new b"}
    for refuse in (files.write, files.require_writable):
        with pytest.raises(tfopt.OutputError, match=f"Received: .*{existing[0]}.*--force"):
            refuse(new)
        assert contents(tmp_path) == before
    files.require_writable(new, overwrite=True)
    assert contents(tmp_path) == before
    files.write(new, overwrite=True)
    assert contents(tmp_path) == {"a": b"new a", "b": b"new b"}


def write_all(paths, overwrite):
    files.write(dict.fromkeys(paths, b"x"), overwrite=overwrite)


# {id: (path in a folder that holds the file `file` and the folder `folder`, what the message must say)}
IMPOSSIBLE = {
    "a folder": ("folder", "Received: .*folder, which is a folder"),
    "in a missing folder": ("none/model.tflite", "Received: .*none. Create it first"),
    "in a file": ("file/model.tflite", "Received: .*file"),
    "too long a name": ("x" * 300, "Received: .*xxx"),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("check", [files.require_writable, write_all])
@pytest.mark.parametrize(("name", "message"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_outputs_are_refused(name, message, check, overwrite, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(tfopt.OutputError, match=message):
        check([tmp_path / "possible", tmp_path / name], overwrite=overwrite)
    assert contents(tmp_path) == {"folder": None, "file": b"old"}


def test_a_read_only_folder_is_refused_before_any_work(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    for check in (lambda path: files.require_writable([path]), lambda path: files.write({path: b"x"})):
        with pytest.raises(tfopt.OutputError, match="Received: .*Read-only file system"):
            check(tmp_path / "model.tflite")
    assert contents(tmp_path) == {}


def fail_at_second(call, error):
    """`call`, but it raises `error` instead of its second call."""
    calls = iter([call])

    def limited(*arguments):
        next(calls, failing)(*arguments)

    def failing(*_):
        raise error

    return limited


@pytest.mark.parametrize("old", [{}, {"a": b"old a", "b": b"old b"}], ids=["new files", "existing files"])
@pytest.mark.parametrize(
    ("call", "error", "raised"),
    [
        ("fsync", OSError(errno.ENOSPC, "No space left on device"), tfopt.OutputError),
        ("chmod", PermissionError(errno.EPERM, "Operation not permitted"), tfopt.OutputError),
        ("replace", OSError(errno.EIO, "Input/output error"), tfopt.OutputError),
        ("fsync", KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["full disk", "no permission", "no rename", "Ctrl-C"],
)
def test_a_failure_leaves_the_folder_as_it_was(call, error, raised, old, tmp_path, monkeypatch):
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(os, call, fail_at_second(getattr(os, call), error))
    with pytest.raises(raised) as caught:
        files.write({tmp_path / "a": b"new a", tmp_path / "b": b"new b"}, overwrite=True)
    monkeypatch.undo()
    assert contents(tmp_path) == old
    if raised is tfopt.OutputError:
        assert isinstance(caught.value, OSError) and f"Received: {error.strerror}" in str(caught.value)


def test_a_real_limit_of_the_file_size_leaves_nothing_behind(tmp_path):
    code = """
import resource, sys
from tfopt import errors, files
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    files.write({"small.json": b"x" * 10, "large.tflite": b"x" * 100_000})
except errors.OutputError as error:
    sys.exit(f"OutputError: {error}")
"""
    finished = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert finished.stderr.startswith("OutputError: ") and "Received: File too large" in finished.stderr
    assert contents(tmp_path) == {}
