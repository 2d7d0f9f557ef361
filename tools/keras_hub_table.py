"""The page docs/keras_hub.md of the results of tools/sweep_keras_hub.py."""

from __future__ import annotations

from typing import Any

STEPS = ("float copy", "int8", "float in 256 steps", "prune", "train", "save and load", "int8 of the trained")
LEAST = 20.0  # dB
HEAD = """# KerasHub

A small net of each architecture of [KerasHub](https://keras.io/keras_hub/), with random weights, on its way through tfopt:
converted to int8, pruned to 80 %, trained quantization-aware for a few steps, saved, loaded, and converted again.
`tools/sweep_keras_hub.py` makes this table.

The values of each trainable weight have a random order and a little normal noise, because KerasHub initializes the kernels of
a key and of a value alike, and many weights with zeros. The SQNR of a net with random weights says whether the file computes
what the model computes; it is no measure of the accuracy of a trained one.

- *int8*: the least SQNR of the outputs of the file, against the model; a file with less than 20 dB fails its check.
- *float in 256 steps*: the same of the float model whose inputs, weights and outputs of layers are rounded to 256 even steps. A net
  that has less than 20 dB there is too sensitive for 8 bits, as one that chooses among experts. A file within 3 dB of it is as
  good as the net lets it be.
- *prune*: the zeros in all weights; embeddings are not pruned.
- *train*: the tensors that the quantization-aware model rounds. *int8 of the trained* compares its file with this model.
"""


def is_int8(result: dict[str, Any], step: str = "int8") -> bool:
    """Whether a file is int8 throughout with at least 20 dB, or the float model in 256 steps has less, and the file is as good.

    The file rounds inside layers, too, so that as good means within 3 dB, twice the noise.
    """
    found, rounded = result["steps"].get(step, {}), result["steps"].get("float in 256 steps", {})
    if "decibel" not in found or found["floats"]:
        return False
    sensitive = rounded.get("decibel", LEAST) < LEAST
    return bool(found["decibel"] >= (rounded["decibel"] - 3.0 if sensitive else LEAST))


def table(results: list[dict[str, Any]]) -> str:
    """The results as a table in Markdown, and lines of sums."""
    import keras_hub_nets

    lines = [HEAD, f"| net | parameters | {' | '.join(STEPS)} |", f"| --- | ---: |{' --- |' * len(STEPS)}"]
    for result in results:
        steps = result["steps"]
        if "build" in steps:
            lines.append(f"| {result['name']} | | {steps['build']['told'].replace('|', '/')} |{' |' * (len(STEPS) - 1)}")
            continue
        lines.append(f"| {result['name']} | {result['parameters']:,} | {' | '.join(_cell(result, step) for step in STEPS)} |")
    backbones = [result for result in results if result["name"] not in keras_hub_nets.TASKS]
    for what, part in (("architectures", backbones), ("tasks", [each for each in results if each not in backbones])):
        run = [result for result in part if "int8" in result["steps"] or "build" in result["steps"]]
        told = f"Of {len(run)} {what}, {sum(map(is_int8, run))} are int8 throughout with at least 20 dB, or as good as the net lets"
        lines += ["", f"{told} them be."]
    lines.append("")
    for step in STEPS:
        run = [result for result in results if step in result["steps"]]
        lines.append(f"- {step}: {sum(bool(result['steps'][step]['good']) for result in run)} of {len(run)} pass")
    missing = sorted(set(keras_hub_nets.NETS) - {result["name"] for result in results})
    if missing:
        lines += ["", f"Not run yet, {len(missing)} of {len(keras_hub_nets.NETS)}: {', '.join(f'`{name}`' for name in missing)}."]
    lines += ["", "Not in the table:", "", *(f"- `{name}`: {reason}" for name, reason in keras_hub_nets.LEFT_OUT.items())]
    return "\n".join(lines) + "\n"


def _cell(result: dict[str, Any], name: str) -> str:
    step = result["steps"].get(name)
    if step is None:
        return "-"
    if step["good"]:
        return str(step["told"]).replace("|", "/")
    if is_int8(result, name) and step["decibel"] < LEAST:
        return f"{step['decibel']:.1f} dB, as good as the net lets it be"
    return f"**no**: {step['told'][:240]}".replace("|", "/")
