"""Whatever a file's configuration holds, the file loads or is refused by one of tfopt's errors, and its code does not run."""

import pathlib

import pytest
from config_trees import Attempt, make_models, mutated_configs, read_config, with_config
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tfopt import errors, isolation

LEGACY = pathlib.Path(__file__).parents[1] / "data" / "legacy_h5"
KINDS = ["keras-1.2.2_tf-1.4.1/cnn.h5", "keras-2.0.5_tf-1.4.1/gru.h5", "tf-2.4.4/nested.h5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trees")


@pytest.fixture(scope="module")
def models(folder):
    """(bytes, suffix, configuration) of small valid files of every generation."""
    paths = make_models(folder)
    files = [(path.read_bytes(), path.suffix) for path in [*paths, *(LEGACY / kind for kind in KINDS)]]
    return [(content, suffix, read_config(content, suffix)) for content, suffix in files]


@pytest.fixture(scope="module")
def child():
    with isolation.Child(preload="tfopt.loading.load") as child:
        yield child


def load(child, path):
    """The outcome; another exception than tfopt's raises `RuntimeError`, a crash or a hang `ConversionError`."""
    return child.call("tests.child_functions:read_file", Attempt(str(path)), timeout=120)


def test_the_models_load_as_they_are(child, models, folder):
    for content, suffix, _ in models:
        path = folder / f"valid{suffix}"
        path.write_bytes(content)
        assert load(child, path) == "loaded"


@settings(
    max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damaged_and_hostile_configurations_load_or_are_refused(child, models, folder, data):
    content, suffix, config = models[data.draw(st.integers(0, len(models) - 1))]
    flag = folder / "code-ran"
    mutated = data.draw(mutated_configs(config, str(flag)))
    path = folder / f"mutated{suffix}"
    path.write_bytes(with_config(content, suffix, mutated.text))
    note(f"{suffix}: {mutated.what}")
    outcome = load(child, path)
    assert outcome == "loaded" or issubclass(getattr(errors, outcome), errors.TfoptError)
    assert not flag.exists(), "code from the file ran"
