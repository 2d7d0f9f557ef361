"""Takes a small net of every KerasHub architecture through tfopt, and writes docs/keras_hub.md.

Each net of `keras_hub_nets.NETS` has random weights and runs in a process that may die: it becomes int8, is pruned to 80 %, trains
quantization-aware for a few steps, is saved, loaded, and converted.

    python tools/sweep_keras_hub.py [--only NAME ...] [--steps STEP ...] [--timeout SECONDS] [--work FOLDER] [--list] [--table]

Results lie in FOLDER; the table holds all results there, and a net runs again only if `--only` names it or it has no result.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NoReturn

from keras_hub_table import STEPS, table

ROOT = pathlib.Path(__file__).parent.parent


def run_one(name: str, steps: Collection[str] = STEPS) -> dict[str, Any]:
    """Takes one net through steps in this process; one that fails does not keep the others from running."""
    import keras
    import keras_hub_nets
    import numpy as np

    import tfopt

    result: dict[str, Any] = {"name": name, "steps": {}}
    model = keras_hub_nets.build(name)
    data, fresh = keras_hub_nets.draw(model, 64), keras_hub_nets.draw(model, 16, seed=1)
    result["parameters"] = model.count_params()
    kept: dict[str, Any] = {}

    def given(arrays: dict[str, Any]) -> Any:
        return arrays if isinstance(model.input, dict) or len(arrays) > 1 else next(iter(arrays.values()))

    def outputs_of(net: keras.Model, arrays: dict[str, Any]) -> Any:
        return keras.tree.map_structure(np.asarray, net(given(arrays), training=False))

    def step(what: str, work: Callable[[], str | dict[str, Any]]) -> None:
        if what not in steps:
            return
        begin = time.monotonic()
        try:
            found = work()
            found = found if isinstance(found, dict) else {"told": found, "good": True}
        except tfopt.TfoptError as error:
            found = {"told": f"{type(error).__name__}: {str(error).splitlines()[0]}", "good": False}
        except Exception as error:  # what should not reach a user: the sweep is there to find it
            told = f"RAW {type(error).__module__}.{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
            found = {"told": told, "good": False}
        result["steps"][what] = {**found, "seconds": round(time.monotonic() - begin, 1)}

    def difference(one: Any, other: Any) -> str:
        pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
        off = max(float(np.max(np.abs(np.asarray(a, "float64") - np.asarray(b, "float64")))) for a, b in pairs)
        if not off <= 1e-4:
            raise tfopt.TfoptError(f"the outputs differ by {off:.2g}")
        return "equal"

    def copy() -> str:
        from tfopt.keras_model.copy import copy_model

        return difference(outputs_of(copy_model(model), data), outputs_of(model, data))

    def converted(of: keras.Model) -> dict[str, Any]:
        check = tfopt.convert(of, representative_data=given(data), runs=1, verbose=False).check
        decibel = min(each.sqnr for each in check.outputs if each.sqnr is not None)  # whole numbers have none
        floats = sorted({op.op for op in check.structure.float_ops})
        words = f"{decibel:.1f} dB" + (f", float {', '.join(floats)}" if floats else "")
        reason = "" if check.passed else f"; {check.reasons[0]}"
        return {"told": words + reason, "good": check.passed, "decibel": min(decibel, 999.0), "floats": floats}

    def spread() -> dict[str, Any]:
        decibel = in_steps(model, data, lambda arrays: outputs_of(model, arrays))
        return {"told": f"{decibel:.1f} dB" if decibel < 999 else "equal", "good": True, "decibel": decibel}

    def prune() -> str:
        report = tfopt.sparsity_report(tfopt.prune(model, 0.8))
        return f"{report.sparsity:.0%} of all weights"

    def train() -> str:
        kept["trained"] = tfopt.calibrate(tfopt.quantize_aware(model, verbose=False), given(data), verbose=False)
        kept["trained"].compile("sgd", "mse", run_eagerly=True)  # to trace the few steps takes longer than to compute them
        wanted = outputs_of(model, data)
        for _ in range(3):  # not `fit`, as the outputs of some nets have no axis of samples
            kept["trained"].train_on_batch(given(data), wanted)
        return f"{len(tfopt.quantization_report(kept['trained']).activations)} tensors"

    def save() -> str:
        with tempfile.TemporaryDirectory() as folder:
            kept["trained"].save(pathlib.Path(folder) / "qat.keras")
            loaded = tfopt.load(pathlib.Path(folder) / "qat.keras")
            return difference(outputs_of(loaded, fresh), outputs_of(kept["trained"], fresh))

    step("float copy", copy)
    step("int8", lambda: converted(model))
    step("float in 256 steps", spread)
    step("prune", prune)
    step("train", train)
    if "trained" in kept:
        step("save and load", save)
        step("int8 of the trained", lambda: converted(kept["trained"]))
    return result


def in_steps(model: Any, data: Mapping[str, Any], outputs: Callable[[Mapping[str, Any]], Any]) -> float:
    """The least SQNR in dB of the outputs of the float model if inputs, weights and outputs of layers have 256 steps.

    The steps of a tensor are even, from the least to the largest of its numbers, those of a weight along its last axis. Nothing
    inside a layer is rounded, as it is in the file.

    Args:
        model: a Keras model.
        data: its inputs.
        outputs: computes its outputs for inputs.
    """
    import keras
    import numpy as np

    from tfopt.keras_model.patch import replaced_attributes
    from tfopt.keras_model.walk import walk_layers

    layers = [layer for layer in walk_layers(model) if not isinstance(layer, keras.Model | keras.layers.InputLayer)]

    def rounded(value: Any, axis: tuple[int, ...] | None = None) -> Any:
        if not hasattr(value, "dtype") or "float" not in keras.backend.standardize_dtype(value.dtype) or 0 in value.shape:
            return value
        low, high = (edge(value, axis=axis, keepdims=True) for edge in (keras.ops.min, keras.ops.max))
        step = keras.ops.maximum((high - low) / 255, 1e-30)
        return low + keras.ops.round((value - low) / step) * step

    def rounding(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: keras.tree.map_structure(rounded, call(*args, **kwargs))

    exact = keras.tree.flatten(outputs(data))
    weights = [(weight, np.array(weight)) for weight in model.weights if len(weight.shape) > 1]
    for weight, value in weights:
        weight.assign(rounded(weight.value, tuple(range(value.ndim - 1))))
    with replaced_attributes({layer: {"call": rounding(layer.call)} for layer in layers}):
        coarse = keras.tree.flatten(outputs({name: np.asarray(rounded(array)) for name, array in data.items()}))
    for weight, value in weights:
        weight.assign(value)
    decibel = 999.0
    for one, other in zip(exact, coarse, strict=True):
        if one.dtype.kind != "f":
            continue
        power, error = (float(np.square(each.astype("float64")).sum()) for each in (one, one - other))
        decibel = min(decibel, 10 * math.log10(power / error) if error and power else 999.0)
    return decibel


def in_children(names: list[str], folder: pathlib.Path, timeout: float, steps: Collection[str]) -> Iterator[dict[str, Any]]:
    """Runs nets one after another in a fork of this process; after one at which it dies, or takes too long, in another fork."""
    waiting = list(names)
    while waiting:
        begun, child = time.monotonic(), os.fork()
        if not child:
            _work(waiting, folder, steps)
        is_over = False
        while waiting and not is_over:
            time.sleep(0.2)
            is_over = os.waitpid(child, os.WNOHANG)[0] != 0
            while waiting and (done := folder / f"{waiting[0]}.done").exists():
                done.unlink()
                yield json.loads((folder / f"{waiting.pop(0)}.json").read_text())
                begun = time.monotonic()
            if waiting and (is_over or time.monotonic() - begun > timeout):
                if not is_over:
                    os.kill(child, 9)
                    os.waitpid(child, 0)
                name, told = waiting.pop(0), "the process ended" if is_over else f"no end within {timeout:.0f} s"
                tail = (folder / f"{name}.log").read_text(errors="replace").strip().splitlines()[-1:]
                result = {"name": name, "steps": {"build": {"told": f"{told}: {''.join(tail)[:300]}", "good": False}}}
                (folder / f"{name}.json").write_text(json.dumps(result))
                yield result
                is_over = True


def _work(names: list[str], folder: pathlib.Path, steps: Collection[str]) -> NoReturn:
    """Runs nets in this process, which ends with them."""
    for name in names:
        path = folder / f"{name}.json"
        with (folder / f"{name}.log").open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
            before = json.loads(path.read_text()) if path.exists() else {"steps": {}}
            found = run_one(name, steps)
            kept = {step: each for step, each in before["steps"].items() if step in STEPS}
            path.write_text(json.dumps({**found, "steps": kept | found["steps"]}, indent=1))
        (folder / f"{name}.done").touch()
    os._exit(0)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--steps", nargs="+", default=STEPS, choices=STEPS, metavar="STEP", help=f"some of: {', '.join(STEPS)}")
    parser.add_argument("--timeout", type=float, default=900.0)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("keras_hub_sweep"))
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    # TensorFlow 2.21 ends the process in a product of oneDNN, when SAM runs in steps outside of a graph.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import keras_hub_nets

    import tfopt  # noqa: F401 - once, before each net gets a process of its own

    names = list(keras_hub_nets.NETS)
    if options.list:
        print("\n".join(names))
        return
    if unknown := set(options.only) - set(names):
        parser.error(f"--only takes names of nets. Received: {', '.join(sorted(unknown))}. See --list.")
    new = [name for name in names if not (options.work / f"{name}.json").exists()]
    wanted = [] if options.table else options.only or new
    for result in in_children(wanted, options.work, options.timeout, options.steps):
        print(result["name"], {step: each["told"] for step, each in result["steps"].items()}, flush=True)
    done = [json.loads(path.read_text()) for name in names if (path := options.work / f"{name}.json").exists()]
    (ROOT / "docs" / "keras_hub.md").write_text(table(done))


if __name__ == "__main__":
    main()
