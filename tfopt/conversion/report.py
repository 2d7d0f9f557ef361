"""Results as JSON and Markdown that a second person can read and trust."""

import dataclasses
import json
import math

from tfopt.errors import ArgumentError

SCHEMA_VERSION = 1


def paths(path):
    """Where the reports of `model.tflite` go: (`model.report.json`, `model.report.md`).

    Args:
        path: pathlib.Path of the TFLite file.
    """
    if path.suffix != ".tflite":
        raise ArgumentError(f"The output must be named `something.tflite`. Received: {path}.")
    stem = path.name.removesuffix(".tflite")
    return path.with_name(f"{stem}.report.json"), path.with_name(f"{stem}.report.md")


def to_dict(result):
    """A result (nested dataclasses) as what JSON can hold; infinite and NaN numbers become None."""
    if dataclasses.is_dataclass(result):
        return {field.name: to_dict(getattr(result, field.name)) for field in dataclasses.fields(result)}
    if isinstance(result, dict):
        return {str(key): to_dict(value) for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return [to_dict(item) for item in result]
    if isinstance(result, float) and not math.isfinite(result):
        return None
    return result


def to_json(report):
    """The report as one JSON document."""
    return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(report):
    """The report of a conversion as Markdown.

    Args:
        report: dict that `ConversionResult.report` returns.

    Returns:
        str.
    """
    check, settings = report["check"], report["settings"]
    lines = [f"# {report['tflite']['name']}: {'PASSED' if check['passed'] else 'FAILED'}", ""]
    lines += [f"- {reason}" for reason in check["reasons"]] + ([""] if check["reasons"] else [])
    lines += table(["", "float32", settings["quantization"]], comparison(report))
    lines += ["", "## Outputs", ""]
    lines += table(
        ["output", "SQNR", "SQNR of the variation", "cosine", "max error", "mean error", "argmax agreement"],
        [
            [
                output["name"],
                "" if output["sqnr"] is None and output["max_error"] != 0 else decibel(output["sqnr"]),
                "" if output["variation_sqnr"] is None else decibel(output["variation_sqnr"]),
                "" if output["cosine"] is None else f"{output['cosine']:.6f}",
                steps(output["max_error_lsb"], output["max_error"]),
                steps(output["mean_error_lsb"], output["mean_error"]),
                percent(output["agreement"]),
            ]
            for output in check["outputs"]
        ],
    )
    lines += ["", f"Measured on {check['samples']} samples: {check['data']}.", "", "## Structure", ""]
    found = check["structure"]
    count, partitions = sum(found["ops"].values()), plural(found["partitions"], "delegate partition")
    lines += [f"Found: {found['quantization']}, {count} ops, {partitions}.", ""]
    lines += table(["op", "count"], [[name, str(count)] for name, count in found["ops"].items()])
    ends = [tensor for tensor in found["tensors"] if tensor["role"] in ("input", "output")]
    lines += [
        "",
        *table(
            ["tensor", "role", "dtype", "shape", "scale, zero point"],
            [[end["name"], end["role"], end["dtype"], shape(end["shape"]), affine(end)] for end in ends],
        ),
    ]
    if report["lowered"] or report["rewritten"]:
        lines += ["", "## Lowered", ""]
        rows = [[rule, ", ".join(names)] for rule, names in report["lowered"].items()]
        lines += table(["rewriting", "where"], rows + [[edit, plural(n, "op")] for edit, n in report["rewritten"].items()])
    notes = [*report["notes"], *check["notes"]]
    if notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    lines += ["", "## How it was made", ""]
    origin = report["source"]
    lines += [f"- model: {origin['name']}" + (f", SHA-256 `{origin['sha256']}`" if origin["sha256"] else "")]
    lines += [f"- file: {report['tflite']['name']}, {report['tflite']['bytes']:,} bytes, SHA-256 `{report['tflite']['sha256']}`"]
    lines += [f"- representative data: {report['representative_data']}"]
    lines += ["- settings: " + ", ".join(f"{name}={value!r}" for name, value in settings.items())]
    lines += ["- with: " + ", ".join(f"{name} {version}" for name, version in report["environment"].items())]
    return "\n".join(lines) + "\n"


def comparison(report):
    """Rows [what, float32, converted] of the table that a user wants to see first."""
    check, timing = report["check"], report["benchmark"]
    rows = []
    if check["accuracy"] is not None:
        rows.append(["accuracy", percent(check["reference_accuracy"]), percent(check["accuracy"])])
    ours, other = timing["tflite"], timing["against"]
    for name, show in (("bytes", byte_count), ("gzip_bytes", byte_count), ("median", milliseconds), ("p90", milliseconds)):
        label = {"bytes": "size", "gzip_bytes": "size, gzip", "median": "latency, median", "p90": "latency, p90"}[name]
        rows.append([label, show(other[name]) if other else "", show(ours[name])])
    if timing["speedup"]:
        rows.append(["speed", "1.00x", f"{timing['speedup']:.2f}x"])
    return rows


def table(head, rows):
    """Lines of a Markdown table."""
    shown = [[str(cell).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in shown]
    return [lines[0], f"|{' --- |' * len(head)}", *lines[1:]]


def lowered(report):
    """What was rewritten, in one line: names with the number of layers or ops."""
    layers = [f"{rule} ({plural(len(names), 'layer')})" for rule, names in report["lowered"].items()]
    return ", ".join(layers + [f"{edit} ({plural(count, 'op')})" for edit, count in report["rewritten"].items()])


def percent(value):
    return "" if value is None else f"{100 * value:.2f} %"


def decibel(value):
    return "exact" if value is None else f"{value:.1f} dB"


def steps(lsb, value):
    """An error in output steps where there are steps, else in the output's own unit."""
    return f"{lsb:.2f} LSB" if lsb is not None else "" if value is None else f"{value:.3g}"


def interval(limits):
    """A range, empty where there is none; JSON has None for an end that is not finite."""
    if limits is not None and None in limits:
        return "not finite"
    return "" if limits is None else f"{limits[0]:.4g} to {limits[1]:.4g}"


def byte_count(value):
    return f"{value:,} B"


def milliseconds(value):
    return f"{value:.2f} ms" if value >= 0.1 else f"{1000 * value:.1f} µs"


def shape(sizes):
    """A shape; sizes that are left open as `?`."""
    return "(" + ", ".join("?" if size is None else str(size) for size in sizes) + ")"


def affine(tensor):
    """Scale and zero point of a tensor's dict, empty where it has none."""
    return f"{tensor['scale'][0]:.6g}, {tensor['zero_point'][0]}" if tensor.get("scale") else ""


def plural(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"
