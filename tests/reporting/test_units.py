"""Numbers are printed with their units."""

import math

import pytest

from tfopt.reporting.units import affine, byte_count, decibel, interval, milliseconds, percent, plural, shape, steps


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.98333), "98.33 %"),
        (percent(0), "0.00 %"),
        (percent(None), ""),
        (decibel(43.26), "43.3 dB"),
        (decibel(-1.0), "-1.0 dB"),
        (decibel(None), "exact"),
        (decibel(math.inf), "exact"),
        (decibel(-math.inf), "-inf dB"),
        (steps(0.333, 0.1), "0.33 LSB"),
        (steps(0.0, 0.1), "0.00 LSB"),
        (steps(None, 0.01234), "0.0123"),
        (steps(None, None), ""),
        (interval((-1.0, 2.53219)), "-1..2.532"),
        (interval((None, 1.0)), "not finite"),
        (interval(None), ""),
        (byte_count(14640), "14,640 B"),
        (byte_count(0), "0 B"),
        (milliseconds(1.254), "1.25 ms"),
        (milliseconds(0.1), "0.10 ms"),
        (milliseconds(0.0021), "2.1 \u00b5s"),
        (shape((1, None, 3)), "(1, ?, 3)"),
        (shape(()), "()"),
        (affine({"scale": [0.0039215689], "zero_point": [-128]}), "0.00392157, -128"),
        (affine({"scale": [], "zero_point": []}), ""),
        (affine({}), ""),
        (plural(1, "layer"), "1 layer"),
        (plural(0, "layer"), "0 layers"),
        (plural(2, "op"), "2 ops"),
    ],
    ids=str,
)
def test_numbers_as_people_read_them(shown, expected):
    assert shown == expected
