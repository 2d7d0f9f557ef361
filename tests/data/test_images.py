"""Images are scaled and resized as asked; sub-folders are classes; a damaged image is named."""

import itertools

import keras
import numpy as np
import pytest
from PIL import Image
from sample_data import IMAGE, image_folder, require_refused, text_file

import tfopt
from tfopt.data.images import ImageFolder
from tfopt.data.open_samples import open_samples
from tfopt.data.signature import TensorSpec

# {id: (pixels, channels of the input, what they are in 0..255 for each channel)}
KINDS = {
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
@pytest.mark.parametrize(("pixels", "channels", "expected"), KINDS.values(), ids=KINDS)
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

    for name in ("a/s0/1.png", "a/s1/2.png", "c/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), 9).save(tmp_path / name)
    (tmp_path / "b").mkdir()
    images = ImageFolder(tmp_path, TensorSpec("image", (None, 2, 2, 1), "float32"), "0..255")
    theirs = keras.utils.image_dataset_from_directory(tmp_path, image_size=(2, 2), shuffle=False, verbose=False)
    assert images.classes == theirs.class_names == ["a", "b", "c"]
    assert images.class_ids == [int(label) for _, labels in theirs for label in labels] == [0, 0, 2]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5], ids=["empty", "only a header", "half"])
def test_corrupt_images_are_named(suffix, kept, tmp_path):
    folder = image_folder(tmp_path)
    path = folder / f"7{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    stream = open_samples(folder, IMAGE, scale="0..1").read()
    assert len(list(itertools.islice(stream, 6))) == 6
    with pytest.raises(tfopt.DataError, match=f"Received: .*7{suffix}"):
        next(stream)


def test_text_named_as_an_image_is_refused(tmp_path):
    text_file(tmp_path / "notes.png")
    with pytest.raises(tfopt.DataError, match=r"Received: .*notes\.png"):
        list(open_samples(tmp_path, IMAGE, scale="0..1").read())


def test_a_folder_without_images_is_refused(tmp_path):
    require_refused("no images in", text_file(tmp_path / "notes.txt").parent)
