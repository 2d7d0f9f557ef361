"""A report as Markdown."""

from tfopt.reporting.summary import comparison
from tfopt.reporting.units import affine, decibel, percent, plural, shape, steps


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
    lines += markdown_table(["", "float32", settings["quantization"]], comparison(report))
    lines += ["", "## Outputs", ""]
    lines += markdown_table(
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
    lines += markdown_table(["op", "count"], [[name, str(count)] for name, count in found["ops"].items()])
    ends = [tensor for tensor in found["tensors"] if tensor["role"] in ("input", "output")]
    lines += [
        "",
        *markdown_table(
            ["tensor", "role", "dtype", "shape", "scale, zero point"],
            [[end["name"], end["role"], end["dtype"], shape(end["shape"]), affine(end)] for end in ends],
        ),
    ]
    if report["lowered"] or report["rewritten"]:
        lines += ["", "## Lowered", ""]
        rows = [[rule, ", ".join(names)] for rule, names in report["lowered"].items()]
        lines += markdown_table(["rewriting", "where"], rows + [[edit, plural(n, "op")] for edit, n in report["rewritten"].items()])
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


def markdown_table(head, rows):
    """Lines of a Markdown table."""
    shown = [[str(cell).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in shown]
    return [lines[0], f"|{' --- |' * len(head)}", *lines[1:]]
