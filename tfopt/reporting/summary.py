"""The two tables of a report that a user wants to see first."""

from tfopt.reporting.units import byte_count, milliseconds, percent, plural


def comparison(report):
    """Rows [what, float32, converted] of the markdown_table that a user wants to see first."""
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


def lowered(report):
    """What was rewritten, in one line: names with the number of layers or ops."""
    layers = [f"{rule} ({plural(len(names), 'layer')})" for rule, names in report["lowered"].items()]
    return ", ".join(layers + [f"{edit} ({plural(count, 'op')})" for edit, count in report["rewritten"].items()])
