"""Takes a small net of every KerasHub architecture through tfopt, and writes docs/keras_hub.md.

Each net of `keras_hub_nets.NETS` has random weights and runs in a process of its own: it becomes int8, is pruned to 80 %, trains
quantization-aware for a few steps, is saved, loaded, and converted.

    python tools/sweep_keras_hub.py [--only NAME ...] [--jobs N] [--timeout SECONDS] [--work FOLDER] [--list]

Results lie in FOLDER; the table holds all results there, and a net runs again only if `--only` names it or it has no result.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent
STEPS = ("float copy", "int8", "prune", "train", "save and load", "int8 of the trained")
HEAD = """# KerasHub

A small net of each architecture of [KerasHub](https://keras.io/keras_hub/), with random weights, on its way through tfopt:
converted to int8, pruned to 80 %, trained quantization-aware for a few steps, saved, loaded, and converted again.
`tools/sweep_keras_hub.py` makes this table. The SQNR of a net with random weights says whether the file computes what the model
computes; it is no measure of the accuracy of a trained one.

"""


def run_one(name: str) -> dict[str, Any]:
    """Takes one net through all steps in this process; a step that fails does not keep the others from running."""
    import keras
    import keras_hub_nets
    import numpy as np

    import tfopt

    keras.utils.set_random_seed(0)
    result: dict[str, Any] = {"name": name, "steps": {}}
    model = keras_hub_nets.NETS[name]()
    data, fresh = keras_hub_nets.draw(model, 64), keras_hub_nets.draw(model, 16, seed=1)

    def given(arrays: dict[str, Any]) -> Any:
        return arrays if isinstance(model.input, dict) else next(iter(arrays.values()))

    outputs = keras.tree.map_structure(np.asarray, model.predict(given(data), batch_size=16, verbose=0))
    result["parameters"] = model.count_params()
    kept: dict[str, Any] = {}

    def step(what: str, work: Callable[[], str]) -> None:
        begin = time.monotonic()
        try:
            told, good = work(), True
        except tfopt.TfoptError as error:
            told, good = f"{type(error).__name__}: {str(error).splitlines()[0]}", False
        except Exception as error:  # what should not reach a user: the sweep is there to find it
            told, good = f"RAW {type(error).__module__}.{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}", False
        result["steps"][what] = {"told": told, "good": good, "seconds": round(time.monotonic() - begin, 1)}

    def difference(one: Any, other: Any) -> float:
        pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
        return max(float(np.max(np.abs(np.asarray(a, "float64") - np.asarray(b, "float64")))) for a, b in pairs)

    def copy() -> str:
        from tfopt.keras_model.copy import copy_model

        off = difference(copy_model(model).predict(given(data), batch_size=16, verbose=0), outputs)
        if not off <= 1e-4:
            raise tfopt.TfoptError(f"a copy differs by {off:.2g}")
        return "equal"

    def converted(of: keras.Model, **options: Any) -> str:
        result_of = tfopt.convert(of, runs=1, verbose=False, **options)
        check = result_of.check
        decibel = [each.sqnr for each in check.outputs]
        floats = sorted({op.op for op in check.structure.float_ops})
        words = f"{min(decibel):.1f} dB" + (f", float {', '.join(floats)}" if floats else "")
        if not check.passed:
            raise tfopt.TfoptError(f"{words}; {check.reasons[0] if check.reasons else ''}")
        return words

    def prune() -> str:
        kept["pruned"] = tfopt.prune(model, 0.8)
        report = tfopt.sparsity_report(kept["pruned"])
        return f"{report.sparsity:.0%} of all weights"

    def train() -> str:
        qat = tfopt.calibrate(tfopt.quantize_aware(model, verbose=False), given(data), verbose=False)
        qat.compile("sgd", "mse")
        qat.fit(given(data), outputs, epochs=1, batch_size=16, verbose=0)
        kept["trained"] = qat
        return f"{len(tfopt.quantization_report(qat).activations)} tensors"

    def save() -> str:
        path = pathlib.Path(kept["folder"]) / "qat.keras"
        kept["trained"].save(path)
        loaded = tfopt.load(path)
        off = difference(loaded.predict(given(fresh), batch_size=16, verbose=0), kept["trained"].predict(given(fresh), verbose=0))
        if not off <= 1e-4:
            raise tfopt.TfoptError(f"the loaded model differs by {off:.2g}")
        return "equal"

    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        kept["folder"] = folder
        step("float copy", copy)
        step("int8", lambda: converted(model, representative_data=given(data)))
        step("prune", prune)
        step("train", train)
        if "trained" in kept:
            step("save and load", save)
            step("int8 of the trained", lambda: converted(kept["trained"], representative_data=given(data)))
    return result


def in_child(name: str, folder: pathlib.Path, timeout: float) -> dict[str, Any]:
    """Runs one net in a process of its own, which may die or take too long."""
    command = [sys.executable, __file__, "--child", name, "--work", str(folder)]
    path = folder / f"{name}.json"
    path.unlink(missing_ok=True)
    with (folder / f"{name}.log").open("w") as log:
        try:
            code = subprocess.run(command, stdout=log, stderr=log, timeout=timeout, check=False).returncode
        except subprocess.TimeoutExpired:
            code = -1
    if not path.exists():
        end = f"no end after {timeout:.0f} s" if code == -1 else f"the process ended with code {code}"
        tail = (folder / f"{name}.log").read_text(errors="replace").strip().splitlines()[-1:]
        steps = {"build": {"told": f"{end}: {''.join(tail)[:200]}", "good": False, "seconds": 0}}
        path.write_text(json.dumps({"name": name, "steps": steps}, indent=1))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def table(results: list[dict[str, Any]]) -> str:
    """The results as a table in Markdown, and a line of sums."""
    lines = [HEAD, f"| net | parameters | {' | '.join(STEPS)} |", f"| --- | ---: |{' --- |' * len(STEPS)}"]
    for result in results:
        steps = result["steps"]
        if "build" in steps:
            lines.append(f"| {result['name']} | | {steps['build']['told'].replace('|', '/')} |{' |' * (len(STEPS) - 1)}")
            continue
        cells = [_cell(steps.get(step)) for step in STEPS]
        lines.append(f"| {result['name']} | {result['parameters']:,} | {' | '.join(cells)} |")
    counts = [sum(bool(result["steps"].get(step, {}).get("good")) for result in results) for step in STEPS]
    passed = ", ".join(f"{step} {count}" for step, count in zip(STEPS, counts, strict=True))
    lines += ["", f"Passed, of {len(results)} nets: {passed}."]
    return "\n".join(lines) + "\n"


def _cell(step: dict[str, Any] | None) -> str:
    if step is None:
        return "-"
    return (step["told"] if step["good"] else f"**no**: {step['told'][:160]}").replace("|", "/")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=900.0)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("keras_hub_sweep"))
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.child:
        (options.work / f"{options.child}.json").write_text(json.dumps(run_one(options.child), indent=1))
        return
    import keras_hub_nets

    names = list(keras_hub_nets.NETS)
    if options.list:
        print("\n".join(names))
        return
    if unknown := set(options.only) - set(names):
        parser.error(f"--only takes names of nets. Received: {', '.join(sorted(unknown))}. See --list.")
    wanted = options.only or [name for name in names if not (options.work / f"{name}.json").exists()]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(lambda name: in_child(name, options.work, options.timeout), wanted):
            print(result["name"], {step: each["told"] for step, each in result["steps"].items()}, flush=True)
    done = [json.loads(path.read_text()) for name in names if (path := options.work / f"{name}.json").exists()]
    (ROOT / "docs" / "keras_hub.md").write_text(table(done))


if __name__ == "__main__":
    main()
