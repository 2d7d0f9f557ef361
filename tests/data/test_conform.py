"""Samples get the dtypes of the inputs; wrong shapes and unusable values are refused with advice."""

import ml_dtypes
import numpy as np
import pytest
from drawing import ROWS, draw, specs_of

import tfopt

# {id: (data, dtype of the input, whether a note tells of the conversion)}
CONVERTED = {
    "float32": (ROWS, "float32", False),
    "float64": (ROWS.astype("float64"), "float32", False),
    "float16": (ROWS.astype("float16"), "float32", False),
    "bfloat16": (ROWS.astype(ml_dtypes.bfloat16), "float32", False),
    "big-endian": (ROWS.astype(">f4"), "float32", False),
    "uint8 pixels": (np.arange(24, dtype="uint8").reshape(6, 4), "float32", True),
    "bool": (ROWS > 0.5, "float32", True),
    "int32 ids": (np.arange(24, dtype="int32").reshape(6, 4), "int32", False),
    "int64 ids": (np.arange(24, dtype="int64").reshape(6, 4), "int32", True),
    "whole floats to ids": (np.arange(24, dtype="float64").reshape(6, 4), "int32", True),
}


@pytest.mark.parametrize(("data", "dtype", "noted"), CONVERTED.values(), ids=CONVERTED)
def test_data_become_the_dtype_of_the_input(data, dtype, noted):
    drawn = draw(data, specs_of((4,), dtype=dtype))
    assert drawn.arrays["x"].dtype == dtype
    np.testing.assert_array_equal(drawn.arrays["x"], data.astype(dtype))
    assert list(drawn.notes) == ([f"input 'x': {data.dtype} data were converted to {dtype}"] if noted else [])


def spoiled(value, dtype="float64"):
    """Six good samples, but for one value in sample 3."""
    data = np.arange(24).reshape(6, 4).astype(dtype)
    data[3, 1] = value
    return data


REFUSED = {
    "NaN": (spoiled(np.nan), "float32", "NaN or infinity in sample 3"),
    "infinity": (spoiled(np.inf), "float32", "NaN or infinity in sample 3"),
    "minus infinity": (spoiled(-np.inf, "float16"), "float32", "NaN or infinity in sample 3"),
    "NaN in bfloat16": (spoiled(np.nan, ml_dtypes.bfloat16), "float32", "NaN or infinity in sample 3"),
    "NaN to an int input": (spoiled(np.nan), "int32", "NaN or infinity in sample 3"),
    "beyond float32": (spoiled(1e300), "float32", "sample 3"),
    "fractions to an int input": (spoiled(0.5), "int32", "fractions in sample 3"),
    "id beyond int32": (spoiled(2**33, "int64"), "int32", "sample 3"),
    "float id beyond int32": (spoiled(2.0**33), "int32", "sample 3"),
    "negative to uint8": (spoiled(-1), "uint8", "sample 3"),
    "text": (spoiled(1).astype(str), "float32", "<U32 in sample 0"),
    "complex": (spoiled(1).astype(complex), "float32", "complex128 in sample 0"),
    "objects": (spoiled(1).astype(object), "float32", "object in sample 0"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast", "ignore:invalid value encountered in cast")
@pytest.mark.parametrize("make", [lambda data: data, lambda data: lambda: iter(data)], ids=["array", "function"])
@pytest.mark.parametrize(("data", "dtype", "received"), REFUSED.values(), ids=REFUSED)
def test_unusable_values_are_refused(data, dtype, received, make):
    with pytest.raises(tfopt.DataError, match=f"Received: .*{received}"):
        draw(make(data), specs_of((4,), dtype=dtype))


IMAGES = np.random.default_rng(0).random((6, 8, 8, 1), dtype="float32")
MISSHAPEN = {
    "no channel": (IMAGES[..., 0], specs_of((8, 8, 1)), (8, 8), "x[..., None]"),
    "another size": (IMAGES[:, :4], specs_of((8, 8, 1)), (4, 8, 1), "as for training"),
    "channels first": (IMAGES.transpose(0, 3, 1, 2), specs_of((8, 8, 1)), (1, 8, 8), "as for training"),
    "swapped inputs": ((ROWS, ROWS[:, :2]), specs_of((2,), (4,)), (4,), "give a dict by name"),
    "one wrong input of two": ((ROWS, ROWS), specs_of((4,), (2,)), (4,), "as for training"),
    "samples in place of a batch": (ROWS[0], specs_of((4,)), (), "batch axis missing? x[None]"),
}


@pytest.mark.parametrize(("data", "specs", "shape", "advice"), MISSHAPEN.values(), ids=MISSHAPEN)
def test_wrong_shapes_come_with_advice(data, specs, shape, advice):
    with pytest.raises(tfopt.DataError) as caught:
        draw(data, specs)
    message = str(caught.value)
    assert f"Received: data of shape {(6, *shape) if shape else (4,)}" in message and advice in message


def test_images_of_unequal_sizes_are_refused():
    with pytest.raises(tfopt.DataError, match=r"Received: \(4, 8, 1\) in sample 2"):
        draw(lambda: iter([*IMAGES[:2], IMAGES[2, :4]]), specs_of((8, 8, 1)))
