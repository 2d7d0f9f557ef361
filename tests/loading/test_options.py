"""Options that cannot be used are refused before any file is opened."""

import pathlib

import pytest

import tfopt
from tfopt.loading.options import LoadOptions


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"custom_objects": {"Mine": int}},
        {"custom_objects": "mine.py"},
        {"custom_objects": pathlib.Path("mine.py")},
        {"architecture": "models:build"},
        {"architecture": "C:/models.py:build"},
        {"architecture": int},
        {"allow_unsafe": True},
    ],
)
def test_what_can_be_used_is_kept(options):
    made = LoadOptions(**options)
    assert {name: getattr(made, name) for name in options} == options


@pytest.mark.parametrize(
    "options, words",
    [
        ({"custom_objects": 7}, "`custom_objects` must be a dict .*Received: custom_objects=7"),
        ({"custom_objects": ["Mine"]}, "`custom_objects` must be a dict"),
        ({"custom_objects": {7: int}}, r"Every name in `custom_objects` must be a str. Received: \[7\]"),
        ({"architecture": "my_models"}, "`architecture` must be MODULE:FUNCTION. Received: 'my_models'.*my_models:build"),
        ({"architecture": ":build"}, "`architecture` must be MODULE:FUNCTION"),
        ({"architecture": "models:"}, "`architecture` must be MODULE:FUNCTION"),
        ({"architecture": 7}, "`architecture` must be MODULE:FUNCTION or a function. Received: architecture=7"),
        ({"allow_unsafe": "no"}, "`allow_unsafe` must be True or False. Received: allow_unsafe='no'"),
        ({"allow_unsafe": 1}, "`allow_unsafe` must be True or False"),
    ],
)
def test_what_cannot_be_used_is_refused(options, words):
    with pytest.raises(tfopt.ArgumentError, match=words):
        LoadOptions(**options)
    with pytest.raises(tfopt.ArgumentError, match=words):
        tfopt.load("no such file", **options)


def test_options_are_given_by_name():
    with pytest.raises(TypeError):
        LoadOptions({"Mine": int})
