"""What the command line prints: tables and progress on a terminal, plain lines in a pipe, or one JSON document."""

import contextlib
import json
import sys

from tfopt.reporting.summary import comparison, lowered
from tfopt.reporting.units import affine, byte_count, decibel, interval, milliseconds, percent, plural, shape, steps

# Rows of a table that are printed; `--json` has them all.
_LIMIT = 40


def show(result, render, *, as_json, quiet):
    """Prints a result as the user asked for it; `render(result)` prints it for people."""
    if as_json:
        print_json(result)
    elif not quiet:
        render(result)


def print_json(document):
    """Prints one JSON document on standard output."""
    print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


@contextlib.contextmanager
def progress(enabled):
    """Yields a function for progress reports; it draws a bar on standard error if that is a terminal, else nothing."""
    if not (enabled and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("start", total=None)

        def report(event):
            if "stage" in event:
                bar.update(task, description=event["stage"], completed=event.get("done", 0), total=event.get("total"))

        yield report


def conversion(report):
    """Prints the report of a conversion."""
    check, tflite = report["check"], report["tflite"]
    quantization = report["settings"]["quantization"]
    print(f"{report['source']['name']} -> {tflite['name']}, {quantization}")
    print(f"representative data: {report['representative_data']}")
    table(["", "float32", quantization], comparison(report))
    _numbers(check)
    if report["lowered"] or report["rewritten"]:
        print(f"lowered: {lowered(report)}")
    _notes([*report["notes"], *check["notes"]])
    _passed(check)
    if report["written"]:
        stem = report["written"].removesuffix(".tflite")
        print(f"Written: {report['written']}, {stem}.report.json, {stem}.report.md")
    else:
        print("Not written, as it failed its check; --keep-failed writes it all the same.")


def demo(folder, report):
    """Prints the report of the demo, and what to do next."""
    conversion(report)
    print(f"The files are in {folder}. The same with your own model:")
    print("  tfopt convert MODEL.h5 -o MODEL.tflite --calibrate TRAIN.npy --validate TEST.npz")


def verdict(name, check):
    """Prints what `tfopt check` found."""
    found = check["structure"]
    print(f"{name}: {found['quantization']}, {sum(found['ops'].values())} ops, delegate partitions: {found['partitions']}")
    _numbers(check)
    _layers(check)
    _notes(check["notes"])
    _passed(check)


def timing(name, other, result):
    """Prints what `tfopt benchmark` measured."""
    rows = []
    for label, measured in ((name, result["tflite"]), (other, result["against"])):
        if measured:
            times = [milliseconds(measured[key]) for key in ("minimum", "median", "p90")]
            rows.append([label, *times, byte_count(measured["bytes"]), byte_count(measured["gzip_bytes"])])
    table(["file", "minimum", "median", "p90", "size", "size, gzip"], rows)
    if result["speedup"]:
        print(f"{name} runs at {result['speedup']:.2f}x the speed of {other}")
    print(f"{plural(result['threads'], 'thread')}, {plural(result['runs'], 'run')}")


def contents(name, result):
    """Prints what `tfopt inspect` found."""
    print(f"{name}: {result['format']}, {result['bytes']:,} B, {result['parameters']:,} parameters{_zeros(result['sparsity'])}")
    rows = [
        [kind, item["name"], item["dtype"], shape(item["shape"]), affine(item)]
        for kind, items in (("input", result["inputs"]), ("output", result["outputs"]))
        for item in items
    ]
    table(["", "name", "dtype", "shape", "scale, zero point"], rows)
    if result["format"] == "tflite":
        print(f"{result['quantization']}, delegate partitions: {result['partitions']}, float ops: {len(result['float_ops'])}")
        table(["op", "count"], [[op, str(count)] for op, count in result["ops"].items()])
        weights = [tensor for tensor in result["tensors"] if tensor["role"] == "weight"]
        table(
            ["weight", "dtype", "shape", "scales", "zeros"],
            [[t["name"].split(";")[-1], t["dtype"], shape(t["shape"]), str(len(t["scale"]) or ""), _share(t)] for t in weights],
        )
    else:
        table(
            ["layer", "class", "parameters", "dtype", "zeros"],
            [
                [layer["name"], layer["class"], f"{layer['parameters']:,}", layer["dtype"], percent(layer["sparsity"])]
                for layer in result["layers"]
            ],
        )


def pruning(result):
    """Prints what `tfopt prune` did."""
    rows = [
        [
            weight["name"],
            weight["layer_class"],
            shape(weight["shape"]),
            percent(weight["zeros"] / weight["parameters"]),
        ]
        for weight in result["weights"]
    ]
    table(["weight", "class", "shape", "zeros"], rows)
    for name, reason in result["skipped"].items():
        print(f"left as it is: {name}: {reason}")
    sizes = f"{result['int8_bytes']:,} B, in gzip {result['int8_gzip_bytes']:,} B"
    print(f"all weights listed: {percent(result['sparsity'])} zeros; as int8 {sizes}")
    print("Zeros shrink what is sent in gzip, not the file itself, and the CPU runtime is not faster for them.")
    print(f"Written: {result['written']}")


def _zeros(sparsity):
    return f", {percent(sparsity)} of the weights zero" if sparsity else ""


def _share(tensor):
    size = 1
    for side in tensor["shape"]:
        size *= side
    return percent(tensor["zeros"] / size) if "zeros" in tensor else ""


def table(head, rows):
    """Prints a table: with rules on a terminal, aligned by spaces elsewhere."""
    shown, left_out = rows[:_LIMIT], len(rows) - _LIMIT
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        grid = Table(*head, header_style="bold")
        for row in shown:
            grid.add_row(*row)
        Console().print(grid, markup=False)
    elif shown:
        widths = [max(len(row[column]) for row in (head, *shown)) for column in range(len(head))]
        for row in (head, *shown):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if left_out > 0:
        print(f"... and {left_out} more; --json lists all")


def _numbers(check):
    if not check["outputs"]:
        return
    rows = [
        [
            output["name"],
            decibel(output["sqnr"]),
            steps(output["max_error_lsb"], output["max_error"]),
            steps(output["mean_error_lsb"], output["mean_error"]),
            percent(output["agreement"]),
        ]
        for output in check["outputs"]
    ]
    table(["output", "SQNR", "max error", "mean error", "argmax agreement"], rows)
    accuracy = ""
    if check["accuracy"] is not None:
        accuracy = f", accuracy {percent(check['accuracy'])} against {percent(check['reference_accuracy'])}"
    print(f"compared on {check['samples']} samples, {check['data']}{accuracy}")


def _layers(check):
    if not check["layers"]:
        return
    rows = [
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
    ]
    table(["layer", "class", "SQNR", "at limits", "range used", "range of the file", "range of the model", "with"], rows)
    for cause in check["causes"]:
        others = (
            f" (also: {', '.join(cause['others'][:5])}{', ...' if len(cause['others']) > 5 else ''})" if cause["others"] else ""
        )
        print(f"{cause['kind']}: {cause['layer'] or 'a layer without a name'}: {cause['what']}{others}")
        print(f"  -> {cause['remedy']}")
    if not check["causes"]:
        print("none of the known causes of error was found")


def _passed(check):
    if check["passed"]:
        _print_bold("PASSED", "green")
        return
    _print_bold("FAILED", "red")
    for reason in check["reasons"][:_LIMIT]:
        print(f"  {reason}")
    if len(check["reasons"]) > _LIMIT:
        print(f"  ... and {len(check['reasons']) - _LIMIT} more; --json lists all")


def _notes(notes):
    for note in notes:
        print(f"note: {note}")


def _print_bold(text, color):
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.console import Console

    Console().print(text, style=f"bold {color}")
