"""Both generations of Keras for the tests of this room."""

import importlib

import pytest


@pytest.fixture(params=["keras", "tf_keras"])
def framework(request):
    return importlib.import_module(request.param)
