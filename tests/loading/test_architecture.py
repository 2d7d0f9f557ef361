"""The function that builds a model is found, called and checked."""

import pytest

import tfopt
from tfopt.loading.architecture import build, name_of


@pytest.mark.parametrize("name", ["my_new_models", "my_old_models"])
def test_functions_of_modules_and_of_files(architectures, name):
    for architecture in (f"{name}:build", f"{architectures / name}.py:build"):
        model = build(architecture)
        assert [weight.shape for weight in model.get_weights()] == [(4, 3), (3,), (3, 2), (2,)]
        assert name_of(architecture) == architecture


@pytest.mark.parametrize(
    "architecture, words",
    [
        ("no_such_module:build", "module must be importable.*no_such_module"),
        ("nowhere.py:build", "file must exist"),
        ("my_new_models:no_such", "must have the function 'no_such'"),
        ("my_new_models:keras.Sequential", "must have the function"),
        ("my_new_models:__name__", "must have the function '__name__'"),
        ("my_new_models:fails", "raised RuntimeError: no luck"),
        ("my_new_models:unbuilt", "must return a model that is built"),
        ("my_new_models:nothing", "must return a Keras model.*int"),
        (lambda: 7, "must return a Keras model.*int from <lambda>"),
        (lambda size: size, "must be a function that runs without arguments.*TypeError"),
    ],
)
def test_anything_else_is_one_clear_error(architectures, architecture, words):
    with pytest.raises(tfopt.LoadError, match=f"(?s){words}") as caught:
        build(architecture)
    assert not isinstance(caught.value, tfopt.UnsafeModelError)
