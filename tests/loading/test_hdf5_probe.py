"""Files in which HDF5 loops for ever are found by a process that may be killed."""

import pathlib
import zipfile

import keras
import pytest

import tfopt
from tfopt.loading import hdf5_probe

LEGACY = pathlib.Path(__file__).parents[1] / "data" / "legacy_h5"


def test_a_file_in_which_hdf5_loops_for_ever_is_refused(tmp_path, monkeypatch):
    content = (LEGACY / "keras-2.0.5_tf-1.4.1" / "embedding.h5").read_bytes()
    (tmp_path / "loop.h5").write_bytes(content[:2471] + content[2470:])
    monkeypatch.setattr(hdf5_probe, "SECONDS", 1)
    with pytest.raises(tfopt.LoadError, match="damaged HDF5 file, which cannot be read to its end"):
        tfopt.load(tmp_path / "loop.h5")


def test_the_weights_of_an_archive_are_read_where_they_lie(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16), keras.layers.Dense(4)])
    model.save(tmp_path / "model.keras")
    # zipfile would read the whole member up to each place that HDF5 looks at.
    monkeypatch.setattr(zipfile.ZipExtFile, "seek", lambda *_: pytest.fail("the archive was read by zipfile"))
    assert hdf5_probe.count_numbers(tmp_path / "model.keras", "model.weights.h5") == model.count_params()
