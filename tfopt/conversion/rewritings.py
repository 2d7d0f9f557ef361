"""The names of all rewritings that a conversion can leave out: of layers, of the file and of its ranges."""

from __future__ import annotations

from collections.abc import Sequence

from tfopt.errors import ArgumentError
from tfopt.lowering import lower
from tfopt.lowering.operations.operations import OPERATION_RULES
from tfopt.ptq import headroom
from tfopt.tflite.edits import EDITS

NAMES = (*lower.RULES, *OPERATION_RULES, *EDITS, headroom.NAME, lower.ALL)


def require_known(names: Sequence[str]) -> None:
    """Raises `ArgumentError` if one of the names is none of `NAMES`."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ArgumentError(f"`skip_lowering` must be a list of names among {', '.join(NAMES)}. Received: {unknown!r}.")
