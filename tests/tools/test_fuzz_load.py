"""A few of the files that tools/fuzz_load.py damages: none may kill the process, raise what is not ours, or run its code."""

import importlib.util
import pathlib

import pytest

SOURCE = pathlib.Path(__file__).parents[2] / "tools" / "fuzz_load.py"


def fuzz(count, seed, **options):
    spec = importlib.util.spec_from_file_location("fuzz_load", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    outcomes, failures, peaks = module.fuzz(count, seed, with_legacy=False, **options)
    assert not failures, failures
    assert sum(outcomes.values()) == count * len(options.get("kinds", module.KINDS))
    # Above all, TensorFlow itself; the child may take 4 GiB.
    assert all(peak < 3000 for peak in peaks.values()), peaks
    return outcomes


@pytest.mark.slow
def test_damaged_and_hostile_files_of_every_kind_load_or_are_refused():
    outcomes = fuzz(5, 7)
    assert any("LoadError" in outcome for outcome in outcomes) and any("DataError" in outcome for outcome in outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5", "saved_model", ".tflite", ".npy", ".npz", "image", "custom_objects"])
def test_more_of_a_kind(kind):
    fuzz(40, 11, kinds=[kind])
