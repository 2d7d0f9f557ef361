"""Files in which HDF5 loops for ever are found by a process that may be killed."""

import pathlib

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
