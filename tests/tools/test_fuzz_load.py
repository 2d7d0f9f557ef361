"""Two dozen of the files that tools/fuzz_load.py damages: none may kill the process, raise what is not ours, or run its code."""

import importlib.util
import pathlib

SOURCE = pathlib.Path(__file__).parents[2] / "tools" / "fuzz_load.py"


def test_damaged_and_hostile_files_load_or_are_refused():
    spec = importlib.util.spec_from_file_location("fuzz_load", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    outcomes, failures = module.fuzz(24, 7, with_legacy=False)
    assert not failures, failures
    assert sum(outcomes.values()) == 24 and any("LoadError" in outcome for outcome in outcomes)
