"""The summary that the command line prints of each kind of result, from its JSON types to lines and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tfopt.reporting.tables import Block, Table
from tfopt.reporting.units import affine, byte_count, decibel, interval, milliseconds, percent, plural, shape, steps

_Json = Mapping[str, Any]


def of_conversion(report: _Json) -> Iterator[Block]:
    """The summary of a conversion's report, without its verdict."""
    check, quantization = report["check"], report["settings"]["quantization"]
    name = report["tflite"]["name"]
    yield f"{report['source']['name']} -> {f'{name}, ' if name else ''}{quantization}"
    yield f"representative data: {report['representative_data']}"
    yield Table(["", reference_name(report), quantization], comparison(report))
    yield from _outputs(check)
    if report["lowered"] or report["rewritten"]:
        yield f"lowered: {lowered(report)}"
    yield from (f"note: {note}" for note in (*report["notes"], *check["notes"]))


def of_check(check: _Json, name: str) -> Iterator[Block]:
    """The summary of a check's result, without its verdict; `name` is that of the file."""
    found = check["structure"]
    yield f"{name}: {found['quantization']}, {plural(sum(found['ops'].values()), 'op')}, delegate partitions: {found['partitions']}"
    yield from _outputs(check)
    yield from _layers(check)
    yield from (f"note: {note}" for note in check["notes"])


def verdict(check: _Json, limit: int | None = None) -> Iterator[str]:
    """PASSED, or FAILED with the first `limit` reasons, all of them for None."""
    yield "PASSED" if check["passed"] else "FAILED"
    yield from (f"  {reason}" for reason in check["reasons"][:limit])
    if limit is not None and len(check["reasons"]) > limit:
        yield f"  ... and {len(check['reasons']) - limit} more"


def next_step(check: _Json, command: str) -> Iterator[str]:
    """What to do about a file whose numbers fail: `command` compares its layers with those of the model."""
    signs = ("SQNR", "exceeds the variation", "accuracy drops")
    if any(sign in reason for reason in check["reasons"] for sign in signs):
        yield f"Next: {command}  # tells which layers err and why"


def of_benchmark(result: _Json, name: str, other: str | None) -> Iterator[Block]:
    """The summary of a benchmark; `name` and `other` are those of the files."""
    rows = []
    for label, measured in ((name, result["tflite"]), (other, result["against"])):
        if measured:
            times = [milliseconds(measured[key]) for key in ("minimum", "median", "p90")]
            rows.append([label, *times, byte_count(measured["bytes"]), byte_count(measured["gzip_bytes"])])
    yield Table(["file", "minimum", "median", "p90", "size", "size, gzip"], rows)
    if result["speedup"]:
        yield f"{name} runs at {result['speedup']:.2f}x the speed of {other}"
    yield f"{plural(result['threads'], 'thread')}, {plural(result['runs'], 'run')}"


def of_inspection(result: _Json, name: str) -> Iterator[Block]:
    """The summary of a file's contents; `name` is that of the file."""
    zeros = f", {percent(result['sparsity'])} of the weights are zero" if result["sparsity"] else ""
    yield f"{name}: {result['format']}, {byte_count(result['bytes'])}, {plural(result['parameters'], 'parameter')}{zeros}"
    ends = (("input", result["inputs"]), ("output", result["outputs"]))
    rows = [[kind, each["name"], each["dtype"], shape(each["shape"]), affine(each)] for kind, items in ends for each in items]
    yield Table(["", "name", "dtype", "shape", "scale, zero point"], rows)
    if result["format"] != "tflite":
        yield Table(
            ["layer", "class", "parameters", "dtype", "zeros"],
            [
                [layer["name"], layer["class_name"], f"{layer['parameters']:,}", layer["dtype"], percent(layer["sparsity"])]
                for layer in result["layers"]
            ],
        )
        return
    yield f"{result['quantization']}, delegate partitions: {result['partitions']}, float ops: {len(result['float_ops'])}"
    yield Table(["op", "count"], list(result["ops"].items()))
    yield Table(
        ["weight", "dtype", "shape", "scales", "zeros"],
        [
            [each["name"].split(";")[-1], each["dtype"], shape(each["shape"]), len(each["scale"]) or "", _zeros(each)]
            for each in result["tensors"]
            if each["role"] == "weight"
        ],
    )


def of_pruning(result: _Json) -> Iterator[Block]:
    """The summary of a model that was pruned without training."""
    yield Table(
        ["weight", "class", "shape", "zeros"],
        [
            [each["name"], each["layer_class"], " x ".join(map(str, each["shape"])), percent(each["zeros"] / each["parameters"])]
            for each in result["weights"]
        ],
    )
    yield from (f"left as it is: {name}: {reason}" for name, reason in result["skipped"].items())
    sizes = f"{byte_count(result['int8_bytes'])}, in gzip {byte_count(result['int8_gzip_bytes'])}"
    yield f"all weights listed: {percent(result['sparsity'])} zeros; as int8 {sizes}"
    yield "Zeros make the file smaller in gzip. They make neither the file itself smaller nor the CPU runtime faster."


def reference_name(report: _Json) -> str:
    """The head of the column of the model in the first table of a conversion."""
    return "QAT model" if report["quantization_aware"] and not report["float_check"] else "float32"


def comparison(report: _Json) -> list[list[str]]:
    """Rows [quantity, model, converted] of the first table of a conversion."""
    check, timing = report["check"], report["benchmark"]
    rows = []
    if check["accuracy"] is not None:
        reference = report["float_check"] or check  # the float model, if it was given
        rows.append(["accuracy", percent(reference["reference_accuracy"]), percent(check["accuracy"])])
    ours, other = timing["tflite"], timing["against"]
    for label, name in (("size", "bytes"), ("size, gzip", "gzip_bytes")):
        rows.append([label, byte_count(other[name]) if other else "", byte_count(ours[name])])
    for name in ("median", "p90"):
        rows.append([f"latency, {name}", milliseconds(other[name]) if other else "", milliseconds(ours[name])])
    if timing["speedup"]:
        rows.append(["speed", "1.00x", f"{timing['speedup']:.2f}x"])
    return rows


def sqnr(output: _Json) -> str:
    """The SQNR of an output; empty if it is NaN or -infinity, for which JSON has None as for the infinity of equal outputs."""
    return "" if output["sqnr"] is None and output["max_error"] != 0 else decibel(output["sqnr"])


def worst_part(output: _Json) -> str:
    """The part of an output that is furthest off, with its SQNR or agreement; empty if the output has one part only."""
    part = output["worst_part"]
    if part is None:
        return ""
    return f"{part['name']}: {decibel(part['variation_sqnr']) if part['agreement'] is None else percent(part['agreement'])}"


def lowered(report: _Json) -> str:
    """The rewritings of a conversion in one line: their names with the number of layers or ops."""
    layers = [f"{rule} ({plural(len(names), 'layer')})" for rule, names in report["lowered"].items()]
    return ", ".join(layers + [f"{edit} ({plural(count, 'op')})" for edit, count in report["rewritten"].items()])


def _outputs(check: _Json) -> Iterator[Block]:
    if not check["outputs"]:
        return
    yield Table(
        ["output", "SQNR", "max error", "mean error", "agreement", "worst part"],
        [
            [
                output["name"],
                sqnr(output),
                steps(output["max_error_lsb"], output["max_error"]),
                steps(output["mean_error_lsb"], output["mean_error"]),
                percent(output["agreement"]),
                worst_part(output),
            ]
            for output in check["outputs"]
        ],
    )
    accuracy = ""
    if check["accuracy"] is not None:
        accuracy = f", accuracy {percent(check['accuracy'])} against {percent(check['reference_accuracy'])}"
    yield f"compared on {plural(check['samples'], 'sample')}, {check['data']}{accuracy}"


def _layers(check: _Json) -> Iterator[Block]:
    if not check["layers"]:
        return
    yield Table(
        ["layer", "class", "SQNR", "at limits", "range used", "range of the file", "range of the model", "with"],
        [
            [
                layer["name"] + (f" (call {layer['call']})" if layer["call"] > 1 else ""),
                layer["class_name"],
                "" if layer["sqnr"] is None and None in layer["float_range"] else decibel(layer["sqnr"]),
                percent(layer["saturated"]),
                percent(layer["range_used"]),
                interval(layer["int8_range"]),
                interval(layer["float_range"]),
                ", ".join(layer["fused"]),
            ]
            for layer in check["layers"]
        ],
    )
    for cause in check["causes"]:
        others = ", ".join(cause["others"][:5]) + (", ..." if len(cause["others"]) > 5 else "")
        also = f" (also: {others})" if cause["others"] else ""
        yield f"{cause['kind']}: {cause['layer'] or 'a layer without a name'}: {cause['what']}{also}"
        yield f"  -> {cause['remedy']}"
    if not check["causes"]:
        yield "none of the known causes of error was found"


def _zeros(tensor: _Json) -> str:
    return percent(tensor["zeros"] / math.prod(tensor["shape"])) if tensor["zeros"] is not None else ""
