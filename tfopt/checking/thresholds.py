"""The limits that a file is checked against."""

import math

from tfopt.errors import ArgumentError


def check_thresholds(*, max_accuracy_drop, min_sqnr):
    """Raises `ArgumentError` unless both are numbers, the first a fraction >= 0."""
    if not is_number(max_accuracy_drop) or not 0 <= max_accuracy_drop < math.inf:
        raise ArgumentError(f"`max_accuracy_drop` must be a finite number >= 0. Received: {max_accuracy_drop!r}.")
    if not is_number(min_sqnr) or math.isnan(min_sqnr):
        raise ArgumentError(f"`min_sqnr` must be a number of dB. Received: {min_sqnr!r}.")


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
