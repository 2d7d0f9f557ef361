"""NumPy files are read row by row, with the right numbers, and a file that is not whole is refused."""

import tracemalloc
import zipfile

import numpy as np
import pytest

import tfopt
from tfopt.data.numpy_files import open_npy, open_npz

GENERATOR = np.random.default_rng(0)
ARRAYS = {
    "float32": GENERATOR.random((7, 3), dtype="float32"),
    "uint8 images": GENERATOR.integers(0, 256, (7, 2, 3, 1), dtype=np.uint8),
    "int64 vector": GENERATOR.integers(0, 10, 7),
    "strided": GENERATOR.random((14, 3))[::2],
    "fortran order": np.asfortranarray(GENERATOR.random((7, 3, 2))),
    "big-endian": GENERATOR.random((7, 3)).astype(">f4"),
    "empty": np.zeros((0, 3)),
}


def stored(path, save, array):
    """Writes an array with `save` and opens it."""
    if save is np.save:
        np.save(path.with_suffix(".npy"), array)
        return open_npy(path.with_suffix(".npy"))
    save(path.with_suffix(".npz"), x=array)
    return open_npz(path.with_suffix(".npz"))["x"]


saves = pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])


@saves
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_stored_rows_are_those_of_the_array(array, save, tmp_path):
    column = stored(tmp_path / "a", save, array)
    assert column.shape == array.shape
    for indices in (range(len(array)), [1, 2, 6][: len(array)], []):
        rows = list(column.rows(indices))
        assert len(rows) == len(indices)
        for index, row in zip(indices, rows, strict=True):
            np.testing.assert_array_equal(row, array[index], strict=True)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)], ids=lambda version: f"{version[0]}.{version[1]}")
def test_every_version_of_the_format_is_read(version, tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, ARRAYS["float32"], version)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "x.npy")
    for column in (open_npy(tmp_path / "a.npy"), open_npz(tmp_path / "a.npz")["x"]):
        np.testing.assert_array_equal(list(column.rows(range(7))), ARRAYS["float32"])


def test_arrays_are_found_by_name_and_other_members_are_left_alone(tmp_path):
    np.savez(tmp_path / "a.npz", **{"first": np.arange(3), "group/second": np.arange(4)})
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("readme.txt", "hello")
    assert {name: array.shape for name, array in open_npz(tmp_path / "a.npz").items()} == {"first": (3,), "group/second": (4,)}


@saves
def test_few_rows_of_a_large_array_take_little_memory(save, tmp_path):
    size = 96 << 20
    array = np.zeros((96, size // 96), np.uint8)
    array[:, 0] = np.arange(96)
    column = stored(tmp_path / "a", save, array)
    del array
    tracemalloc.start()
    try:
        values = [int(row[0]) for row in column.rows([1, 50, 95])]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for file in tmp_path.iterdir():
            file.unlink()
    assert values == [1, 50, 95]
    assert most < size / 2


@pytest.mark.parametrize("order", ["C", "F"])
@saves
def test_an_array_that_is_cut_off_is_refused(save, order, tmp_path):
    """The header tells of 50 rows, but the file, or the member of an archive that is whole itself, ends before."""
    np.save(tmp_path / "whole.npy", np.asarray(GENERATOR.random((50, 4)), order=order))
    content = (tmp_path / "whole.npy").read_bytes()[:-10]
    if save is np.save:
        path, opened = tmp_path / "cut.npy", open_npy
        path.write_bytes(content)
    else:
        path, opened = tmp_path / "cut.npz", lambda path: open_npz(path)["x"]
        kind = zipfile.ZIP_STORED if save is np.savez else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("x.npy", content)
    with pytest.raises(tfopt.DataError, match=f"Received: .*{path.name}"):
        list(opened(path).rows(range(50)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_archive_is_refused(save, order, tmp_path):
    """Large enough for the damage to be noticed only when the rows are read."""
    path = tmp_path / "damaged.npz"
    save(path, x=np.asarray(GENERATOR.random((2000, 4)), order=order))
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 100)
    content[middle] = bytes(byte ^ 255 for byte in content[middle])
    path.write_bytes(content)
    with pytest.raises(tfopt.DataError, match=r"Received: .*damaged\.npz"):
        list(open_npz(path)["x"].rows(range(2000)))
