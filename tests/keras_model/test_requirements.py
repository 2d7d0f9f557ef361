"""Models must be Keras models and built."""

import pytest

from tfopt.errors import ArgumentError
from tfopt.keras_model.requirements import require_built


def test_what_is_no_model():
    with pytest.raises(ArgumentError, match=r"tfopt.load\(path\).*Received: str 'model.keras'\."):
        require_built("model.keras")


def test_models_with_and_without_weights(framework):
    require_built(framework.Sequential([framework.Input((4,)), framework.layers.Dense(3)]))
    with pytest.raises(ArgumentError, match=r"must be built.*\(Sequential\), which is not built"):
        require_built(framework.Sequential([framework.layers.Dense(3)]))
