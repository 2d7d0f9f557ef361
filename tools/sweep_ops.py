"""Converts every operation of `keras.ops`, alone and between two Dense layers, to int8 and prints what came out.

    python tools/sweep_ops.py [--only TEXT] [--write]

Each operation stands in a layer of its own, as users write them. The table has, for each, the float operations that are left in
the int8 file and the SQNR on samples that calibration has not seen, alone and between two Dense layers; for results that are
whole numbers or true and false, and for functions that jump, the part of them that is right. A child process converts, as the
converter may die. `--write` makes docs/operations.md.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from operation_cases import CASES, IMPOSSIBLE

LEAST = 30.0  # dB
SLACK = 3.0  # dB below what 8 bits allow
PLACES = ("alone", "between")


def build(case, place):
    """A model that computes a case: of its inputs themselves, or of Dense layers, with a Dense layer after it."""
    import keras

    class Operation(keras.layers.Layer):
        def call(self, tensors):
            return case.compute(keras.ops, *tensors)

    ends = {"positive": lambda x: keras.ops.sigmoid(x) + 0.1, "unit": lambda x: keras.ops.tanh(x) * 0.9}
    keras.utils.set_random_seed(0)
    inputs, tensors = [], []
    for index, domain in enumerate(case.domains):
        dtype = {"ids": "int32", "mask": "bool"}.get(domain, "float32")
        inputs.append(keras.Input(case.shape, dtype=dtype, name=f"x{index}"))
        is_float = dtype == "float32"
        tensor = keras.layers.Dense(case.shape[-1])(inputs[-1]) if place == "between" and is_float else inputs[-1]
        tensors.append(ends[domain](tensor) if place == "between" and domain in ends else tensor)
    operation = Operation(name="operation")
    result = operation(tensors)
    if place == "between" and result.dtype == "float32":
        result = keras.layers.Dense(4, name="after")(result)
    return keras.Model(inputs, result)


def ceiling(model, calibration, data):
    """What 8 bits allow: dB of the model computed in float, with the operation's inputs, its result and the output in 256 steps."""
    import keras
    import numpy as np

    operation = model.get_layer("operation")
    before = keras.Model(model.inputs, operation.input if isinstance(operation.input, list) else [operation.input])
    last = [layer for layer in model.layers if layer.name == "after"]

    def stages(arrays, low_high=None):
        """Values at each stage; in steps of the ranges `low_high`, if they are given."""
        found = []

        def see(values):
            values = np.asarray(values)
            if values.dtype.kind == "f" and low_high is not None:
                low, high = low_high[len(found)]
                step = max(high - low, 1e-30) / 255
                values = (np.clip(np.rint((values - low) / step), 0, 255) * step + low).astype("float32")
            found.append(values)
            return values

        count = len(next(iter(arrays.values())))
        tensors = before.predict(arrays, batch_size=count, verbose=0) if before.layers else list(arrays.values())
        tensors = [see(each) for each in (tensors if isinstance(tensors, list) else [tensors])]
        rows = [np.asarray(operation([each[row : row + 1] for each in tensors])) for row in range(count)]
        result = see(np.concatenate(rows))
        return [*found, see(last[0](result))] if last else found

    seen = [(min(float(each.min()), 0.0), max(float(each.max()), 0.0)) for each in stages(calibration)]
    wanted, rounded = stages(data)[-1].astype(float), stages(data, seen)[-1]
    return decibel(wanted, rounded)


def decibel(wanted, found):
    import numpy as np

    return float(10 * np.log10((wanted.astype(float) ** 2).sum() / max(((wanted.astype(float) - found) ** 2).sum(), 1e-30)))


def draw(case, count, seed):
    """dict of arrays for the model of a case."""
    import numpy as np

    generator = np.random.default_rng(seed)
    made = {
        "any": lambda shape: generator.uniform(-2.0, 2.0, shape), "positive": lambda shape: generator.uniform(0.1, 1.1, shape),
        "unit": lambda shape: generator.uniform(-0.9, 0.9, shape), "ids": lambda shape: generator.integers(0, 6, shape),
        "mask": lambda shape: generator.random(shape) < 0.7,
    }  # fmt: skip
    kinds = {"ids": "int32", "mask": "bool"}
    return {
        f"x{index}": made[domain]((count, *case.shape)).astype(kinds.get(domain, "float32"))
        for index, domain in enumerate(case.domains)
    }


def measure(case, place):
    """{"float_ops", "decibel" or "equal"} of a case's int8 file."""
    import numpy as np

    from tfopt.conversion import export
    from tfopt.data import signature
    from tfopt.lowering import lower
    from tfopt.lowering.trace import trace_model
    from tfopt.tflite import op_audit
    from tfopt.tflite.interpreter import Interpreter

    model = build(case, place)
    if place == "between" and model.outputs[0].dtype != "float32":
        return {"skipped": True}
    specs = signature.fix_sizes(signature.input_specs(model), 1)
    traced = trace_model(model, specs, lower.plan(model))
    content = export.to_tflite(traced, export.Variant("int8"), samples=draw(case, 256, seed=2)).content
    data = draw(case, 64, seed=3)
    plain = trace_model(model, specs)
    rows = [plain({name: array[row : row + 1] for name, array in data.items()})[0] for row in range(64)]
    wanted = np.concatenate(rows)
    interpreter = Interpreter(content)
    found = np.asarray(interpreter.run(data)[0]).reshape(wanted.shape)
    float_ops = [op.op for op in op_audit.examine(interpreter, ["operation", "after"], "int8").float_ops]
    if wanted.dtype.kind != "f":
        return {"float_ops": float_ops, "equal": float((wanted == found).mean())}
    if case.jumps:
        step = np.ptp(wanted) / 255
        return {"float_ops": float_ops, "equal": float((np.abs(wanted - found) <= 3 * step).mean())}
    reached = decibel(wanted, found)
    allowed = ceiling(model, draw(case, 256, seed=2), data) if reached < LEAST else None
    return {"float_ops": float_ops, "decibel": reached, "ceiling": allowed}


def child(names):
    """Measures cases in this process and prints a line of JSON for each."""
    for case in CASES:
        if case.name in names:
            for place in PLACES:
                print(json.dumps({"begin": [case.name, place]}), flush=True)
                try:
                    found = measure(case, place)
                except Exception as error:  # any refusal is a finding
                    found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
                print(json.dumps({"case": case.name, "place": place, **found}), flush=True)


def sweep(names):
    """{(case, place): findings}, with an "error" where the process died."""
    found, left = {}, list(names)
    while left:
        command = [sys.executable, __file__, "--child", json.dumps(left)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        begun = None
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                if "begin" in entry:
                    begun = tuple(entry["begin"])
                else:
                    found[entry.pop("case"), entry.pop("place")] = entry
                    print(begun, entry, file=sys.stderr)
        if begun and begun not in found:
            found[begun] = {"error": f"the process died with {done.returncode}"}
            found.setdefault((begun[0], "between"), found[begun])
        elif done.returncode:
            raise SystemExit(f"The child process failed with {done.returncode} before its first case.")
        left = [name for name in left if (name, PLACES[-1]) not in found]
    return found


def is_good(entry):
    """Whether an int8 file has no float operation, and is as right as 8 bits allow."""
    if entry.get("skipped"):
        return True
    if entry.get("error") or entry["float_ops"]:
        return False
    return (
        entry.get("decibel", LEAST) >= min(LEAST, (entry.get("ceiling") or LEAST + SLACK) - SLACK) and entry.get("equal", 1) > 0.9
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a part of the names of the cases")
    parser.add_argument("--write", action="store_true", help="write docs/operations.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    found = sweep([case.name for case in CASES if options.only in case.name])
    found = {key: (entry, is_good(entry)) for key, entry in found.items()}
    for (name, place), (entry, good) in found.items():
        print("ok " if good else "BAD", name, "|", place, "|", entry)
    wrong = {name for (name, _), (_, good) in found.items() if not good}
    print(
        "not as they should be:",
        sorted(wrong - set(IMPOSSIBLE)),
        "better than listed:",
        sorted({name for name, _ in found} & set(IMPOSSIBLE) - wrong),
    )
    if options.write:
        PAGE.write_text(page(found))


PAGE = pathlib.Path(__file__).parents[1] / "docs" / "operations.md"
BEGIN = """# Operations

Every operation of `keras.ops` that TFLite can express was converted to int8 in a layer of its own, with its inputs given to the
model ("alone") and between two Dense layers. `tools/sweep_ops.py --write` makes this page, and the tests assert its columns.

dB is the SQNR on samples that calibration has not seen. Where it is below 30 dB, the parentheses give the SQNR that 8 bits allow:
that of the float model with the inputs of the operation, its result, and the output of the model in 256 steps. An operation is in
the first table if it reaches 30 dB, or comes within 3 dB of what 8 bits allow. For results that are whole numbers, true or false,
and for functions that jump, the table gives the share of the results that are right instead.

## Computed in int8, without a float operation

| operation | alone | between two Dense layers |
|---|---|---|
"""


def page(found):
    """The text of docs/operations.md."""
    rows = []
    for case in CASES:
        if case.name not in IMPOSSIBLE:
            rows.append(f"| `{case.name}` | {' | '.join(cell(found[case.name, place][0]) for place in PLACES)} |")
    reasons = [f"| `{name}` | {reason} |" for name, reason in IMPOSSIBLE.items()]
    table = ["", "## Not possible in int8, or not as well", "", "| operation | reason |", "|---|---|", *reasons, ""]
    return BEGIN + "\n".join(rows + table)


def cell(entry):
    if entry.get("skipped"):
        return "whole numbers"
    if "equal" in entry:
        return f"{entry['equal']:.1%}"
    allowed = f" ({entry['ceiling']:.1f} allowed)" if entry.get("ceiling") is not None else ""
    return f"{min(entry['decibel'], 99.9):.1f} dB{allowed}"


if __name__ == "__main__":
    main()
