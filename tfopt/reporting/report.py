"""A report as JSON types, and where it is written."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from typing import Any

from tfopt.errors import ArgumentError

SCHEMA_VERSION = 1


def paths(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Where the reports of `model.tflite` go: (`model.report.json`, `model.report.md`).

    Args:
        path: the path of the TFLite file.
    """
    if path.suffix != ".tflite":
        raise ArgumentError(f"The output must be named `something.tflite`. Received: {path}.")
    stem = path.name.removesuffix(".tflite")
    return path.with_name(f"{stem}.report.json"), path.with_name(f"{stem}.report.md")


def to_dict(result: Any) -> Any:
    """A result (nested dataclasses) as JSON types; infinite and NaN numbers become None."""
    if dataclasses.is_dataclass(result):
        return {field.name: to_dict(getattr(result, field.name)) for field in dataclasses.fields(result)}
    if isinstance(result, dict):
        return {str(key): to_dict(value) for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return [to_dict(item) for item in result]
    if isinstance(result, float) and not math.isfinite(result):
        return None
    return result


def to_json(report: Any) -> str:
    """The report as one JSON document."""
    return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
