"""A report as JSON types and as the documents beside a TFLite file."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from typing import Any

from tfopt.errors import ArgumentError
from tfopt.reporting.markdown import to_markdown

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


def documents(path: pathlib.Path, report: dict[str, Any]) -> dict[pathlib.Path, bytes]:
    """The reports to write beside a TFLite file, by their paths.

    Args:
        path: the path of the TFLite file.
        report: the dict that `ConversionResult.report` returns.
    """
    json_path, markdown_path = paths(path)
    return {json_path: to_json(report).encode(), markdown_path: to_markdown(report).encode()}
