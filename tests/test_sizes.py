"""Content that takes more memory than its file should, or than is free, is refused before it is read."""

import json
import subprocess
import sys
import tracemalloc
import zipfile

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

import tfopt
from tfopt import sizes
from tfopt.data.images import ImageFolder
from tfopt.data.numpy_files import open_npy, open_npz
from tfopt.data.open_samples import open_samples
from tfopt.data.signature import TensorSpec
from tfopt.loading import model_file

MIB = 1 << 20
LARGE = "--allow-large .Python: allow_large=True"


@pytest.fixture
def small_bound(monkeypatch):
    """Lets content take 1 MiB however small its file is."""
    monkeypatch.setattr(sizes, "SMALL", MIB)


@pytest.fixture
def little_memory(monkeypatch):
    """Lets 1 MiB be free."""
    monkeypatch.setattr(sizes, "free_memory", lambda: MIB)


@pytest.mark.parametrize(("needed", "stored", "passes"), [
    (sizes.SMALL, 1, True),
    (sizes.SMALL + 1, 1, False),
    (sizes.GROWTH * 10 * MIB, 10 * MIB, True),
    (sizes.GROWTH * 10 * MIB + 1, 10 * MIB, False),
])  # fmt: skip
def test_growth_is_bounded_above_a_size(needed, stored, passes):
    def require(**options):
        sizes.require_growth(needed, stored, "the array 'x'", path="a.npz", **options)

    require(allow_large=True)
    if passes:
        require(allow_large=False)
        return
    with pytest.raises(tfopt.LoadError, match=f"a.npz, in which the array 'x' takes .* stored in .*{LARGE}"):
        require(allow_large=False)
    with pytest.raises(tfopt.DataError):
        require(allow_large=False, error=tfopt.DataError)


def test_free_memory_bounds(monkeypatch):
    assert sizes.free_memory() > MIB
    monkeypatch.setattr(sizes, "free_memory", lambda: 10 * MIB)
    sizes.require_memory(10 * MIB, "x", allow_large=False, path="a")
    with pytest.raises(tfopt.LoadError, match=f"x takes 10.0 MiB, where 10.0 MiB are free; .*{LARGE}"):
        sizes.require_memory(10 * MIB + 1, "x", allow_large=False, path="a")


def archive(path, config, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": "3.9.0"}))
        file.writestr("config.json", config)
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_a_configuration_that_grows(tmp_path, small_bound):
    path = archive(tmp_path / "bomb.keras", json.dumps({"a": "a" * 10 * MIB}))
    with pytest.raises(tfopt.LoadError, match=f"the member 'config.json' takes .*{LARGE}"):
        tfopt.load(path)
    with pytest.raises(tfopt.LoadError) as caught:  # by Keras
        tfopt.load(path, allow_large=True)
    assert "allow_large" not in str(caught.value)


def test_members_that_grow_together(tmp_path, small_bound):
    path = archive(tmp_path / "bomb.keras", "{}", **{f"assets/{index}": bytes(MIB // 2) for index in range(4)})
    with pytest.raises(tfopt.LoadError, match=f"all members together takes .*{LARGE}"):
        tfopt.load(path)


def test_a_bomb_of_real_size_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": "3.9.0"}))
        with file.open("config.json", "w", force_zip64=True) as member:
            for _ in range(400):
                member.write(bytes(MIB))
    code = (
        "import resource, sys\nfrom tfopt.loading import model_file\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    model_file.read(sys.argv[1])\nexcept Exception as error:\n    print(type(error).__name__)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    kind, grown = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout.split()
    assert kind == "LoadError" and int(grown) < 100


@pytest.fixture(params=["h5", "keras"])
def with_weights(request, tmp_path):
    """Writes a model file whose HDF5 is changed by a function."""

    def write(change):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
        path = tmp_path / f"model.{request.param}"
        model.save(path)
        if request.param == "h5":
            with h5py.File(path, "r+") as file:
                change(file)
            return path
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        (tmp_path / "weights.h5").write_bytes(members["model.weights.h5"])
        with h5py.File(tmp_path / "weights.h5", "r+") as file:
            change(file)
        members["model.weights.h5"] = (tmp_path / "weights.h5").read_bytes()
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(name, content)
        return path

    return write


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.create_dataset("large", (1 << 40,), "f4", chunks=(1024,)),
        lambda file: file.create_dataset("packed", data=np.zeros(80 * MIB, "f4"), compression="gzip"),
        lambda file: file.create_dataset("chunk", (4,), "f4", chunks=(80 * MIB,), maxshape=(None,)),
    ],
    ids=["never written", "packed", "chunk"],
)
def test_arrays_of_hdf5_that_grow(with_weights, change):
    with pytest.raises(tfopt.LoadError, match=f"the arrays takes .*{LARGE}"):
        tfopt.load(with_weights(change))


def test_arrays_in_other_files_are_not_read(with_weights, tmp_path):
    (tmp_path / "secret").write_bytes(b"s3cret-token-1234")

    def outside(file):
        file.create_dataset("other", (17,), "u1", external=[(str(tmp_path / "secret"), 0, 17)])

    with pytest.raises(tfopt.UnsafeModelError, match="whose 'other' is in another file.*--allow-unsafe"):
        tfopt.load(with_weights(outside))


@pytest.mark.parametrize("kind", ["link", "virtual"])
def test_links_to_other_files_are_not_followed(with_weights, tmp_path, kind):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(4)

    def point(file):
        if kind == "link":
            file["other"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
        else:
            layout = h5py.VirtualLayout((4,), "i8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (4,))
            file.create_virtual_dataset("other", layout)

    with pytest.raises(tfopt.UnsafeModelError, match="whose 'other' is in another file"):
        tfopt.load(with_weights(point))


def test_one_array_that_is_listed_many_times(tmp_path, legacy_classifier, monkeypatch):
    monkeypatch.setattr(sizes, "SMALL", 10_000)
    monkeypatch.setattr(sizes, "GROWTH", 1)
    legacy_classifier.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        layers = [each for each in file["model_weights"].values() if len(each.attrs.get("weight_names", ()))]
        layer = max(layers, key=lambda each: each[each.attrs["weight_names"][0]].size)
        layer.attrs["weight_names"] = [layer.attrs["weight_names"][0]] * 3000
    from tfopt.loading.h5.weight_groups import read_groups

    with pytest.raises(tfopt.LoadError, match=f"the arrays takes .*{LARGE}"):
        read_groups(tmp_path / "model.h5")


def test_numpy_files_that_grow(tmp_path, small_bound):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((400, MIB // 16), "f4"))
    with pytest.raises(tfopt.DataError, match=f"the array 'x.npy' takes 100.0 MiB, stored in .*{LARGE}"):
        open_npz(tmp_path / "a.npz")
    assert open_npz(tmp_path / "a.npz", allow_large=True)["x"].shape == (400, MIB // 16)


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_that_do_not_fit_the_memory(tmp_path, monkeypatch, order):
    np.save(tmp_path / "a.npy", np.asarray(np.zeros((8, 1000, 100), "f4"), order=order))
    monkeypatch.setattr(sizes, "free_memory", lambda: MIB)
    if order == "C":
        assert open_npy(tmp_path / "a.npy").shape == (8, 1000, 100)  # 0.4 MB a row
        monkeypatch.setattr(sizes, "free_memory", lambda: MIB // 4)
    with pytest.raises(tfopt.DataError, match=f"a row of the array takes .*{LARGE}"):
        open_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", ["(-1, 4)", "(True, 4)", "(9999999999, 4)", "(9999999999999, 0)", "(10**9,)", "(4, 4, 9)"])
def test_numpy_headers_that_lie(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros((4, 4), "f4"))
    content = (tmp_path / "a.npy").read_bytes()
    header = content[:128].replace(b"(4, 4)", shape.encode())
    (tmp_path / "a.npy").write_bytes(header[:127].rstrip().ljust(127) + b"\n" + content[128:])
    spec = TensorSpec("x", (None, 4), "float32")
    with pytest.raises(tfopt.DataError, match="a.npy|must have the shape"):
        open_samples(tmp_path / "a.npy", [spec])


@pytest.mark.parametrize("version", [b"\x00", b"\x02", b"\x03"])
def test_a_header_of_numpy_that_is_very_long(tmp_path, version):
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY" + version + b"\x00" + (200 * MIB).to_bytes(4, "little") + bytes(300 * MIB))
    tracemalloc.start()
    with pytest.raises(tfopt.DataError, match="a damaged header of 209,715,200 bytes"):
        open_npy(path)
    assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    tracemalloc.stop()


def test_labels_that_do_not_fit_the_memory(tmp_path, little_memory):
    np.save(tmp_path / "labels.npy", np.zeros(10_000, "i8"))
    spec = TensorSpec("x", (None, 1), "float32")
    with pytest.raises(tfopt.DataError, match=f"the array of labels takes .*{LARGE}"):
        open_samples(np.zeros((10_000, 1), "f4"), [spec], labels=tmp_path / "labels.npy")
    opened = open_samples(np.zeros((10_000, 1), "f4"), [spec], labels=tmp_path / "labels.npy", allow_large=True)
    assert opened.labeled


def test_images_that_grow(tmp_path, small_bound):
    Image.new("RGB", (4000, 4000)).save(tmp_path / "black.png")
    spec = TensorSpec("image", (None, 8, 8, 3), "float32")
    with pytest.raises(tfopt.DataError, match=f"black.png, in which an image of 4000 x 4000 pixels takes .*{LARGE}"):
        list(ImageFolder(tmp_path, spec, "0..1").rows([0]))
    (pixels,) = ImageFolder(tmp_path, spec, "0..1", allow_large=True).rows([0])
    assert pixels.shape == (8, 8, 3)


def test_what_an_image_is_follows_from_its_content_among_the_kinds_that_only_decode(tmp_path):
    (tmp_path / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    with pytest.raises(tfopt.DataError, match="program.png"):
        list(ImageFolder(tmp_path, TensorSpec("image", (None, 8, 8, 3), "float32"), "0..1").rows([0]))


def test_tensors_of_tflite_that_do_not_fit_the_memory(converted, tmp_path, monkeypatch):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    monkeypatch.setattr(sizes, "free_memory", lambda: 1000)
    with pytest.raises(tfopt.LoadError, match=f"the whole file takes .*{LARGE}"):
        tfopt.Interpreter(tmp_path / "model.tflite")
    with pytest.raises(tfopt.LoadError, match=f"the tensors of one operation takes .*{LARGE}"):
        tfopt.Interpreter(converted.tflite)
    assert tfopt.Interpreter(tmp_path / "model.tflite", allow_large=True).batch_size == 1


def test_every_command_that_reads_files_takes_the_option(run_cli, tmp_path):
    path = archive(tmp_path / "bomb.keras", json.dumps({"a": "a" * 20 * MIB}))
    finished = run_cli("inspect", str(path))
    assert finished.returncode == 2 and "'config.json' takes" in finished.stderr and "--allow-large" in finished.stderr
    for command in ("convert", "check", "benchmark", "inspect", "prune"):
        assert "--allow-large" in run_cli(command, "--help").stdout


def test_real_files_have_room(model_files, tmp_path):
    for name in ("keras3.keras", "keras3.h5", "keras2.h5", "keras2.keras", "saved_model"):
        assert model_file.read(model_files / name)
