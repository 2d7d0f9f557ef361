"""The report of a conversion as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfopt.reporting.summary import comparison, reference_name, sqnr, worst_part
from tfopt.reporting.tables import markdown_table
from tfopt.reporting.units import affine, decibel, percent, plural, shape, steps


def to_markdown(report: Mapping[str, Any]) -> str:
    """The report of a conversion as Markdown.

    Args:
        report: the dict that `ConversionResult.report` returns.
    """
    check, settings = report["check"], report["settings"]
    lines = [f"# {report['tflite']['name']}: {'PASSED' if check['passed'] else 'FAILED'}", ""]
    lines += [f"- {reason}" for reason in check["reasons"]] + ([""] if check["reasons"] else [])
    lines += markdown_table(["", reference_name(report), settings["quantization"]], comparison(report))
    lines += ["", "## Outputs", "", *_outputs(check)]
    lines += ["", f"Measured on {plural(check['samples'], 'sample')}: {check['data']}.", "", "## Structure", ""]
    lines += _structure(check["structure"])
    if report["lowered"] or report["rewritten"]:
        lines += ["", "## Lowered", ""]
        rows = [[rule, ", ".join(names)] for rule, names in report["lowered"].items()]
        lines += markdown_table(["rewriting", "where"], rows + [[edit, plural(n, "op")] for edit, n in report["rewritten"].items()])
    notes = [*report["notes"], *check["notes"]]
    if notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    return "\n".join([*lines, "", "## How it was made", "", *_origin(report)]) + "\n"


def _outputs(check: Mapping[str, Any]) -> list[str]:
    return markdown_table(
        ["output", "SQNR", "SQNR of the variation", "cosine", "max error", "mean error", "agreement", "worst part"],
        [
            [
                output["name"],
                sqnr(output),
                "" if output["variation_sqnr"] is None else decibel(output["variation_sqnr"]),
                "" if output["cosine"] is None else f"{output['cosine']:.6f}",
                steps(output["max_error_lsb"], output["max_error"]),
                steps(output["mean_error_lsb"], output["mean_error"]),
                percent(output["agreement"]),
                worst_part(output),
            ]
            for output in check["outputs"]
        ],
    )


def _structure(found: Mapping[str, Any]) -> list[str]:
    count, partitions = plural(sum(found["ops"].values()), "op"), plural(found["partitions"], "delegate partition")
    ends = [tensor for tensor in found["tensors"] if tensor["role"] in ("input", "output")]
    rows = [[end["name"], end["role"], end["dtype"], shape(end["shape"]), affine(end)] for end in ends]
    return [
        f"Found: {found['quantization']}, {count}, {partitions}.",
        "",
        *markdown_table(["op", "count"], list(found["ops"].items())),
        "",
        *markdown_table(["tensor", "role", "dtype", "shape", "scale, zero point"], rows),
    ]


def _origin(report: Mapping[str, Any]) -> list[str]:
    source, tflite = report["source"], report["tflite"]
    return [
        f"- model: {source['name']}" + (f", SHA-256 `{source['sha256']}`" if source["sha256"] else ""),
        f"- file: {tflite['name']}, {tflite['bytes']:,} bytes, SHA-256 `{tflite['sha256']}`",
        f"- representative data: {report['representative_data']}",
        "- settings: " + ", ".join(f"{name}={value!r}" for name, value in report["settings"].items()),
        "- with: " + ", ".join(f"{name} {version}" for name, version in report["environment"].items()),
    ]
