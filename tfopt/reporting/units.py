"""Numbers with their units, as people read them."""


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
