"""Files are read row by row, with the right numbers, and a file that is not whole is refused."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

import tfopt
from tfopt.data.numpy_files import open_npy, open_npz
from tfopt.data.images import ImageFolder
from tfopt.data.signature import TensorSpec

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


# {id: (pixels, channels of the input, what they are in 0..255 for each channel)}
PIXELS = {
    "grey to grey": (np.array([[0, 255, 51]], np.uint8), 1, [[0], [255], [51]]),
    "grey to RGB": (np.array([[0, 255, 51]], np.uint8), 3, [[0] * 3, [255] * 3, [51] * 3]),
    "RGB to RGB": (np.array([[[0, 255, 51], [1, 2, 3]]], np.uint8), 3, [[0, 255, 51], [1, 2, 3]]),
    "RGB to grey": (np.array([[[255, 255, 255], [0, 0, 0], [70, 70, 70]]], np.uint8), 1, [[255], [0], [70]]),
    "RGBA to RGB": (np.array([[[9, 8, 7, 255], [200, 100, 0, 255]]], np.uint8), 3, [[9, 8, 7], [200, 100, 0]]),
    "16 bits to grey": (np.array([[0, 65535, 51 * 257]], np.uint16), 1, [[0], [255], [51]]),
    "16 bits to RGB": (np.array([[0, 65535, 51 * 257]], np.uint16), 3, [[0] * 3, [255] * 3, [51] * 3]),
    "black and white": (np.array([[True, False]]), 1, [[255], [0]]),
}


@pytest.mark.parametrize("scale", ["0..1", "-1..1", "0..255"])
@pytest.mark.parametrize(("pixels", "channels", "expected"), PIXELS.values(), ids=PIXELS)
def test_pixels_are_scaled(pixels, channels, expected, scale, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "image.png")
    images = ImageFolder(tmp_path, TensorSpec("image", (None, *pixels.shape[:2], channels), "float32"), scale)
    (row,) = images.rows([0])
    low, high = {"0..1": (0, 1), "-1..1": (-1, 1), "0..255": (0, 255)}[scale]
    assert row.dtype == np.float32 and row.min() >= low and row.max() <= high
    np.testing.assert_allclose(row[0], low + np.array(expected) / 255 * (high - low), atol=1e-5 * high)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(4, 6), (40, 60), (20, 10)], ids=["smaller", "larger", "of another aspect"])
def test_images_are_resized(channels, height, width, tmp_path):
    """A black left half stays left, and the size is height by width."""
    pixels = np.zeros((20, 30), np.uint8)
    pixels[:, 15:] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    images = ImageFolder(tmp_path, TensorSpec("image", (None, height, width, channels), "float32"), "0..1")
    assert images.shape == (1, height, width, channels)
    (row,) = images.rows([0])
    assert row.shape == (height, width, channels)
    # The two columns beside the edge may be blended.
    np.testing.assert_allclose(row[:, : width // 2 - 1], 0, atol=1e-6)
    np.testing.assert_allclose(row[:, width // 2 + 1 :], 1, atol=1e-6)


def test_folders_are_classes_in_alphabetical_order(tmp_path):
    for index, name in enumerate(["wasp/a.png", "ant/b.PNG", "bee/c.jpg", "ant/d.bmp", "ant/.hidden", "wasp/labels.txt"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix in ("", ".txt"):
            path.write_text("no image")
        else:
            Image.new("L", (2, 2), 40 * index).save(path)
    images = ImageFolder(tmp_path, TensorSpec("image", (None, 2, 2, 1), "float32"), "0..255")
    assert images.shape == (4, 2, 2, 1)
    assert images.classes == ["ant", "bee", "wasp"]
    assert images.class_ids == [0, 0, 1, 2]
    np.testing.assert_allclose([row[0, 0, 0] for row in images.rows(range(4))], [40, 120, 80, 0], atol=1)


@pytest.mark.parametrize(
    ("shape", "scale", "advice"),
    [
        ((None, 8, 8, 1), None, "--scale 0..1|-1..1|0..255"),
        ((None, 8, 8, 1), "0-1", "'0-1'"),
        ((None, None, None, 3), "0..1", "--input-shape"),
        ((None, 8, 8, 4), "0..1", "1 or 3"),
        ((None, 64), "0..1", "1 or 3"),
    ],
    ids=["no scale", "unknown scale", "open size", "4 channels", "no images"],
)
def test_an_image_folder_must_fit_the_input(shape, scale, advice, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    with pytest.raises(tfopt.DataError) as caught:
        ImageFolder(tmp_path, TensorSpec("image", shape, "float32"), scale)
    assert advice in str(caught.value) and "Received:" in str(caught.value)


def test_classes_are_those_of_keras_with_empty_and_nested_folders(tmp_path):
    import keras

    for name in ("a/s0/1.png", "a/s1/2.png", "c/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), 9).save(tmp_path / name)
    (tmp_path / "b").mkdir()
    images = ImageFolder(tmp_path, TensorSpec("image", (None, 2, 2, 1), "float32"), "0..255")
    theirs = keras.utils.image_dataset_from_directory(tmp_path, image_size=(2, 2), shuffle=False, verbose=False)
    assert images.classes == theirs.class_names == ["a", "b", "c"]
    assert images.class_ids == [int(label) for _, labels in theirs for label in labels] == [0, 0, 2]
