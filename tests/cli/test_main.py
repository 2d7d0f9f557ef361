"""The command line as its users meet it: whole processes, exit codes, what is printed, and what is left on disk."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import tfopt

GARBAGE = {
    "empty": b"",
    "random": np.random.default_rng(0).bytes(4000),
    "text": b"dear diary\n" * 50,
}


@pytest.fixture
def convert_command(model_files):
    """Makes the arguments of `tfopt convert` for the digits with a few samples and runs; what is given replaces these."""

    def make(model=None, output="out.tflite", calibrate=None, validate=None):
        command = ["convert", model or model_files / "keras3.h5", "-o", output, "--samples", 50, "--runs", 3]
        return [*command, "--calibrate", calibrate or model_files / "train.npy", "--validate", validate or model_files / "test.npz"]

    return make


@pytest.fixture
def convert(run_cli, convert_command):
    """Runs it, with further arguments."""

    def run(*arguments, model=None, output="out.tflite", calibrate=None, validate=None, **options):
        return run_cli(*convert_command(model, output, calibrate, validate), *arguments, **options)

    return run


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_convert_writes_file_and_reports(run_process, convert_command, tmp_path):
    """In processes of its own, as its users run it."""
    finished = run_process(*convert_command())
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert "PASSED" in finished.stdout and "accuracy" in finished.stdout and "\x1b" not in finished.stdout
    assert files_in(tmp_path) == ["out.report.json", "out.report.md", "out.tflite"]
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["source"]["name"] == "keras3.h5" and len(report["source"]["sha256"]) == 64


def test_json_is_one_document_and_quiet_is_quiet(convert, tmp_path):
    finished = convert("--json", "--force")
    report = json.loads(finished.stdout)
    assert finished.returncode == 0 and finished.stderr == ""
    assert report["check"]["passed"] and report["written"] == "out.tflite"
    finished = convert("--quiet", "--force")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


def test_every_option_reaches_the_conversion(convert, model_files, tmp_path):
    np.save(tmp_path / "labels.npy", np.load(model_files / "test.npz")["y"])
    np.save(tmp_path / "images.npy", np.load(model_files / "test.npz")["x"])
    options = {
        "--quantization": "int8", "--io": "float32", "--batch-size": 2, "--input-shape": "image=2,8,8,1", "--samples": 20,
        "--ptq": "best", "--seed": 7, "--max-accuracy-drop": 0.5, "--min-sqnr": 3, "--max-qat-error-lsb": 5, "--threads": 2,
        "--runs": 4, "--timeout": 500,
    }  # fmt: skip
    flags = [part for pair in options.items() for part in pair]
    flags += ["--allow-float", "--logits", "--skip-lowering", "recurrent", "--skip-lowering", "masking"]
    finished = convert("--labels", tmp_path / "labels.npy", "--json", *flags, validate=tmp_path / "images.npy")
    settings = json.loads(finished.stdout)["settings"]
    assert settings.pop("skip_lowering") == ["recurrent", "masking"] and settings.pop("allow_float") is True
    assert settings.pop("logits") is True and settings.pop("split_outputs") is False
    assert settings.pop("input_shapes") == {"image": [2, 8, 8, 1]} and settings.pop("scale") is None
    assert settings == {
        name.strip("-").replace("-", "_"): value for name, value in options.items() if name not in ("--input-shape",)
    }
    assert json.loads(finished.stdout)["check"]["accuracy"] > 0.9


def test_failed_check_exits_1_and_is_kept_only_on_request(convert, model_files, tmp_path):
    command = (
        f"tfopt check out.tflite --reference {model_files / 'keras3.h5'} --data {model_files / 'test.npz'} --layers"
        "  # tells which layers err and why"
    )
    finished = convert("--min-sqnr", 90)
    assert finished.stdout.splitlines()[-1] == f"Next: the same with --keep-failed, then {command}"
    assert finished.returncode == 1 and "FAILED" in finished.stdout and "--keep-failed" in finished.stdout
    assert files_in(tmp_path) == []
    finished = convert("--min-sqnr", 90, "--keep-failed")
    assert finished.returncode == 1 and "out.tflite" in files_in(tmp_path)
    assert finished.stdout.splitlines()[-1] == f"Next: {command}"


def test_existing_output_needs_force(convert, tmp_path):
    (tmp_path / "out.tflite").write_bytes(b"precious")
    finished = convert()
    assert finished.returncode == 2 and "must not exist yet" in finished.stderr and "--force" in finished.stderr
    assert (tmp_path / "out.tflite").read_bytes() == b"precious" and files_in(tmp_path) == ["out.tflite"]
    assert convert("--force").returncode == 0
    assert (tmp_path / "out.tflite").read_bytes() != b"precious"


def bad_inputs(folder, model_files):
    """name -> (keyword arguments of `convert`, words of the message)."""
    x = np.load(model_files / "test.npz")["x"]
    cases = {"missing model": ({"model": "nothing.h5"}, "No such file")}
    for kind, content in GARBAGE.items():
        for suffix in (".h5", ".keras", ".tflite"):
            (folder / f"{kind}{suffix}").write_bytes(content)
            cases[f"{kind} {suffix}"] = ({"model": folder / f"{kind}{suffix}"}, "A Keras model")
    for name in ("keras3.h5", "keras3.keras", "keras2.h5"):
        content = (model_files / name).read_bytes()
        (folder / f"truncated-{name}").write_bytes(content[: len(content) // 3])
        cases[f"truncated {name}"] = ({"model": folder / f"truncated-{name}"}, "Received: ")
    (folder / "folder").mkdir()
    cases["folder that is no SavedModel"] = ({"model": folder / "folder"}, "saved_model.pb")
    layer = keras.layers.Lambda(lambda t: 2 * t, name="doubling")
    keras.Sequential([keras.Input((8, 8, 1)), layer]).save(folder / "lambda.keras")
    cases["lambda"] = ({"model": folder / "lambda.keras"}, "'doubling' holds Python bytecode")
    weights = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    weights.save_weights(folder / "only.weights.h5")
    cases["weights only"] = ({"model": folder / "only.weights.h5"}, "weights only")
    data = {
        "rank": (x[..., 0], "Add the channel"),
        "size": (x[:, :7], "must have the shape (8, 8, 1)"),
        "dtype": (np.full(x.shape, "a"), "must be numbers"),
        "nan": (np.where(x > 0.9, np.nan, x), "must be finite"),
        "no samples": (x[:0], "At least one sample"),
    }
    for name, (array, words) in data.items():
        np.save(folder / f"{name}.npy", array)
        cases[f"calibration: {name}"] = ({"calibrate": folder / f"{name}.npy"}, words)
    for kind, content in GARBAGE.items():
        (folder / f"{kind}.npy").write_bytes(content)
        (folder / f"{kind}.npz").write_bytes(content)
        cases[f"calibration: {kind}.npy"] = ({"calibrate": folder / f"{kind}.npy"}, "Received: ")
        cases[f"validation: {kind}.npz"] = ({"validate": folder / f"{kind}.npz"}, "Received: ")
    np.savez(folder / "labels.npz", x=x, y=np.zeros(len(x) - 1, int))
    cases["labels of the wrong length"] = ({"validate": folder / "labels.npz"}, "As many labels as samples")
    cases["missing data"] = ({"calibrate": "nothing.npy"}, "The data file must exist")
    cases["output without a folder"] = ({"output": "no/such/folder/out.tflite"}, "output folder must exist")
    cases["output of another kind"] = ({"output": "out.onnx"}, "must be named `something.tflite`")
    return cases


def test_bad_input_gets_one_message_exit_code_2_and_leaves_nothing(convert, model_files, tmp_path_factory, tmp_path):
    folder = tmp_path_factory.mktemp("bad")
    wrong = {}
    for name, (arguments, words) in bad_inputs(folder, model_files).items():
        finished = convert(**arguments)
        lines = finished.stderr.strip().splitlines()
        right = finished.returncode == 2 and len(lines) == 1 and lines[0].startswith("Error: ") and words in lines[0]
        if not right or finished.stdout or files_in(tmp_path):
            wrong[name] = (finished.returncode, finished.stderr[-600:], finished.stdout[-200:], files_in(tmp_path))
    assert not wrong


def test_bad_input_in_a_process_of_its_own(run_process, convert_command, tmp_path):
    (tmp_path / "bad.h5").write_bytes(GARBAGE["text"])
    finished = run_process(*convert_command(model="bad.h5"))
    assert finished.returncode == 2 and finished.stderr.startswith("Error: A Keras model") and finished.stdout == ""
    assert files_in(tmp_path) == ["bad.h5"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert"],
        ["convert", "m.h5"],
        ["convert", "m.h5", "-o", "o.tflite", "--input-shape", "x"],
        ["nonsense"],
        ["check", "--bad"],
    ],
    ids=" ".join,
)
def test_bad_usage_exits_2(run_cli, arguments):
    finished = run_cli(*arguments)
    assert finished.returncode == 2 and "Usage: tfopt" in finished.stderr and "Traceback" not in finished.stderr


def test_int8_without_data_says_how_to_give_some(run_cli, model_files, tmp_path):
    finished = run_cli("convert", model_files / "keras3.h5", "-o", "out.tflite")
    assert finished.returncode == 2 and "--calibrate DATA" in finished.stderr and files_in(tmp_path) == []


def test_labels_need_validation_data(run_cli, model_files, tmp_path):
    train = model_files / "train.npy"
    finished = run_cli("convert", model_files / "keras3.h5", "-o", "out.tflite", "--calibrate", train, "--labels", train)
    assert finished.returncode == 2 and "--validate" in finished.stderr and files_in(tmp_path) == []


def test_a_bug_is_told_apart_from_a_failed_check(tmp_path):
    script = """
import sys
from tfopt import isolation
class Child(isolation.Child):
    def call(self, *arguments, **options):
        raise RuntimeError("Traceback of the child")
isolation.Child = Child
sys.argv = ["tfopt", "check", "model.tflite", "--json"]
from tfopt.cli.main import main
main()
"""
    (tmp_path / "model.tflite").touch()
    finished = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 70 and "Traceback of the child" in finished.stderr
    assert json.loads(finished.stdout)["error"]["kind"] == "bug"


def test_error_as_json(run_cli):
    finished = run_cli("convert", "nothing.h5", "-o", "out.tflite", "--json")
    assert finished.returncode == 2
    assert json.loads(finished.stdout)["error"]["kind"] == "LoadError"


def test_unwritable_folder_is_told_before_the_work(convert):
    code = "import os, sys; from tfopt import files, errors; files.require_writable(['/proc/out.tflite'])"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "must be writable" in finished.stderr
    finished = convert(model="nothing.h5", output="/proc/out.tflite")  # a model that would be missed as soon as it is read
    assert finished.returncode == 2 and "must be writable" in finished.stderr


def test_full_disk_leaves_no_file(model_files, tmp_path):
    """A limit on the size of files stands for a full disk: the int8 file no longer fits, its smaller reports would."""
    script = f"""
import resource, signal, sys
from tfopt import files
write = files.write
def write_on_a_full_disk(*arguments, **options):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))
    write(*arguments, **options)
files.write = write_on_a_full_disk
sys.argv = ["tfopt", "convert", {str(model_files / "keras3.h5")!r}, "-o", "out.tflite", "--runs", "3",
            "--calibrate", {str(model_files / "train.npy")!r}]
from tfopt.cli.main import main
main()
"""
    finished = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 2, finished.stderr
    assert "must be written" in finished.stderr and "Traceback" not in finished.stderr
    assert files_in(tmp_path) == []


def children_of(pid):
    """Process ids of the direct children, from /proc."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.append(int(entry))
    return found


@pytest.fixture
def started(model_files, tmp_path):
    """A running `tfopt convert` and its child, both some seconds from their end."""
    command = [sys.executable, "-m", "tfopt", "convert", str(model_files / "keras3.h5"), "-o", "out.tflite"]
    command += ["--calibrate", str(model_files / "train.npy"), "--runs", "1000000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell starts what runs in its background with Ctrl-C ignored, which the tests may have inherited.
    process = subprocess.Popen(command, cwd=tmp_path, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes)
    deadline = time.monotonic() + 30
    while not children_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    (child,) = children_of(process.pid)
    time.sleep(3)  # it now imports TensorFlow or is at work
    assert process.poll() is None
    yield process, child
    process.kill()


def test_ctrl_c(started, tmp_path):
    process, child = started
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and out == "" and err.strip() == "Interrupted. Nothing was written."
    assert files_in(tmp_path) == []
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_killed_child(started, tmp_path):
    process, child = started
    os.kill(child, signal.SIGKILL)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 3 and out == ""
    assert "SIGKILL" in err and "memory" in err and len(err.strip().splitlines()) == 1
    assert files_in(tmp_path) == []


def test_child_ends_with_its_parent(started):
    process, child = started
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{child}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except OSError:
            return
        time.sleep(0.2)
    pytest.fail("the child outlived its parent")


def test_a_model_that_kills_the_converter_exits_3(run_cli, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((20, 8)), keras.layers.LSTM(16, name="memory"), keras.layers.Dense(4)])
    model.save(tmp_path / "lstm.keras")
    np.save(tmp_path / "data.npy", np.random.default_rng(0).normal(size=(32, 20, 8)).astype("float32"))
    finished = run_cli("convert", "lstm.keras", "-o", "out.tflite", "--calibrate", "data.npy", "--skip-lowering", "recurrent")
    assert finished.returncode == 3, finished.stderr
    assert "memory (LSTM)" in finished.stderr and "'convert to int8'" in finished.stderr
    assert not (tmp_path / "out.tflite").exists()


@pytest.mark.slow
def test_verbose_shows_the_converter(run_process, convert_command):
    finished = run_process(*convert_command(), "--verbose", "--json")
    assert json.loads(finished.stdout)["check"]["passed"]
    assert len(finished.stderr) > 100


def test_unsafe_and_custom_layers_are_let_in_on_request(run_cli, tmp_path):
    layer = keras.layers.Lambda(lambda t: 2 * t, name="doubling")
    keras.Sequential([keras.Input((8, 8, 1)), layer]).save(tmp_path / "lambda.keras")
    assert run_cli("inspect", "lambda.keras").returncode == 2
    finished = run_cli("inspect", "lambda.keras", "--allow-unsafe")
    assert finished.returncode == 0 and "doubling" in finished.stdout


def test_check_benchmark_and_inspect(run_cli, converted, model_files, tmp_path):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    finished = run_cli("check", "model.tflite", "--reference", model_files / "keras3.h5", "--data", model_files / "test.npz")
    assert finished.returncode == 0 and "PASSED" in finished.stdout and "accuracy" in finished.stdout, finished.stderr
    document = json.loads(run_cli("check", "model.tflite", "--json").stdout)
    assert document["passed"] and document["structure"]["quantization"] == "int8"
    finished = run_cli(
        "check", "model.tflite", "--reference", model_files / "keras3.h5", "--data", model_files / "test.npz", "--min-sqnr", 99
    )
    assert finished.returncode == 1 and "FAILED" in finished.stdout
    layers = "check", "model.tflite", "--reference", model_files / "keras3.h5", "--data", model_files / "test.npz", "--layers"
    finished = run_cli(*layers)
    assert finished.returncode == 0 and "range of the model" in finished.stdout and "none of the known causes" in finished.stdout
    document = json.loads(run_cli(*layers, "--json").stdout)
    assert {"digit", "image"} <= {layer["name"] for layer in document["layers"]} and document["causes"] == []
    finished = run_cli("check", "model.tflite", "--layers")
    assert finished.returncode == 2 and "--data" in finished.stderr
    finished = run_cli("benchmark", "model.tflite", "--against", "model.tflite", "--runs", 3, "--json")
    assert json.loads(finished.stdout)["runs"] == 3
    assert "model.tflite" in run_cli("benchmark", "model.tflite", "--runs", 3).stdout
    finished = run_cli("inspect", "model.tflite")
    assert finished.returncode == 0 and "CONV_2D" in finished.stdout and "image" in finished.stdout
    finished = run_cli("inspect", model_files / "keras2.h5", "--json")
    assert json.loads(finished.stdout)["format"] == "tf_keras"


@pytest.mark.parametrize("kind", [*GARBAGE, "truncated", "missing"])
def test_damaged_tflite_files(run_cli, converted, tmp_path, kind):
    content = converted.tflite[: len(converted.tflite) // 2] if kind == "truncated" else GARBAGE.get(kind)
    if content is not None:
        (tmp_path / "bad.tflite").write_bytes(content)
    for command in ("check", "benchmark", "inspect"):
        finished = run_cli(command, "bad.tflite")
        assert finished.returncode == 2 and finished.stdout == "", (command, finished.stderr)
        assert finished.stderr.startswith("Error: ") and len(finished.stderr.strip().splitlines()) == 1, (command, finished.stderr)


@pytest.mark.slow
def test_demo(run_cli, tmp_path):
    finished = run_cli("demo", "-o", "here")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1].strip().startswith("tfopt convert MODEL.h5 -o MODEL.tflite --calibrate")
    assert {"digits.h5", "digits.tflite", "digits.report.md", "digits.report.json"} <= set(files_in(tmp_path / "here"))
    assert json.loads((tmp_path / "here" / "digits.report.json").read_text())["check"]["accuracy"] > 0.95


def test_version(run_cli):
    assert run_cli("--version").stdout == f"tfopt {tfopt.__version__}\n"


def peak_memory(command, cwd):
    """Peak resident MiB of the largest process that `command` starts."""
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    return int(subprocess.run([sys.executable, "-c", code, *command], cwd=cwd, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_a_large_calibration_file_is_not_read_into_memory(tmp_path):
    """1.5 GiB on paper (the file has holes) cost no more than 300 MiB over 200 samples of the same shape."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Conv2D(4, 8, strides=8),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3),
    ]
    keras.Sequential([keras.Input((512, 512, 1)), *layers]).save(tmp_path / "model.keras")
    generator = np.random.default_rng(0)
    peaks = {}
    for name, count in (("small", 200), ("large", 1536)):
        array = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", "float32", (count, 512, 512, 1))
        array[:, :2] = generator.random((count, 2, 512, 1))
        array.flush()
        del array
        command = [sys.executable, "-m", "tfopt", "convert", "model.keras", "-o", f"{name}.tflite", "--runs", "3", "--keep-failed"]
        peaks[name] = peak_memory([*command, "--calibrate", f"{name}.npy", "--min-sqnr", "-100"], tmp_path)
    assert (tmp_path / "large.npy").stat().st_size >= 1.5 * 2**30
    assert peaks["large"] - peaks["small"] <= 300, peaks


@pytest.mark.parametrize("name", ["keras3.keras", "keras2.h5"])
def test_prune(run_cli, model_files, tmp_path, name):
    output = f"pruned{model_files.joinpath(name).suffix}"
    finished = run_cli("prune", model_files / name, "-o", output, "--sparsity", 0.5)
    assert finished.returncode == 0 and finished.stderr == "", finished.stderr
    assert (
        "50.00 %" in finished.stdout
        and "the output layer; include it" in finished.stdout
        and "nor the CPU runtime faster" in finished.stdout
    )
    assert files_in(tmp_path) == [output]
    assert tfopt.inspect(tmp_path / output).sparsity == pytest.approx(0.237, abs=0.01)
    finished = run_cli("prune", model_files / name, "-o", output, "--sparsity", 0.5)
    assert finished.returncode == 2 and "must not exist yet" in finished.stderr
    second = [layer.name for layer in tfopt.inspect(model_files / name).layers if layer.class_name == "Conv2D"][1]
    finished = run_cli("prune", model_files / name, "-o", output, "--n-by-m", 2, 4, "--include", second, "--json", "--force")
    result = json.loads(finished.stdout)
    assert [weight["zeros"] for weight in result["weights"] if second in weight["name"]] == [16 * 9 * 32 // 2]


def test_prune_refuses(run_cli, model_files, tmp_path):
    model = model_files / "keras3.keras"
    for arguments, words in [
        (["-o", "out.tflite", "--sparsity", 0.5], ".keras or .h5"),
        (["-o", "out.keras"], "either a sparsity or a threshold"),
        (["-o", "out.keras", "--sparsity", 50], "50 % is 0.5"),
        (["-o", "out.keras", "--sparsity", 0.5, "--include", "digits"], "Closest: digit"),
        (["-o", "out.keras", "--sparsity", 0.5, "--block", 2, 2, "--n-by-m", 2, 4], "by one pattern"),
    ]:
        finished = run_cli("prune", model, *arguments)
        assert finished.returncode == 2 and words in finished.stderr and "Traceback" not in finished.stderr, finished.stderr
    assert files_in(tmp_path) == []


def test_inspect_builds_the_model_of_a_file_of_weights(run_cli, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    model.save_weights(tmp_path / "only.weights.h5")
    layers = "[keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)]"
    (tmp_path / "my_models.py").write_text(f"import keras\n\n\ndef build():\n    return keras.Sequential({layers})\n")
    finished = run_cli("inspect", "only.weights.h5", "--architecture", "my_models:build", "--json")
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["parameters"] == 23
    finished = run_cli("inspect", "only.weights.h5")
    assert finished.returncode == 2 and "--architecture MODULE:FUNCTION" in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert", "no.keras", "-o", "out.tflite"], "no.keras (No such file"),
        (["convert", "MODEL", "-o", "out.tflite", "--calibrate", "no.npy"], "The data file must exist. Received: no.npy"),
        (["convert", "MODEL", "-o", "out.tflite", "--calibrate", "TRAIN", "--labels", "no.npy", "--validate", "TRAIN"], "no.npy"),
        (["convert", "MODEL", "-o", "out.tflite", "--calibrate", "TRAIN", "--scale", "0..1"], "is for folders of images"),
        (["check", "no.tflite"], "no.tflite (No such file"),
        (["check", "MODEL", "--data", "TRAIN", "--scale", "0..1"], "is for folders of images"),
        (["inspect", "no.h5"], "no.h5 (No such file"),
        (["benchmark", "no.tflite"], "no.tflite (No such file"),
        (["prune", "no.h5", "-o", "out.keras", "--sparsity", "0.5"], "no.h5 (No such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_paths_and_usage_are_tested_before_the_work(run_cli, model_files, monkeypatch, arguments, words):
    def refuse(*_args, **_options):
        raise AssertionError("TensorFlow was about to load")

    monkeypatch.setattr("tfopt.cli.options.run_in_child", refuse)
    paths = {"MODEL": model_files / "keras3.h5", "TRAIN": model_files / "train.npy"}
    finished = run_cli(*(paths.get(each, each) for each in arguments))
    assert finished.returncode == 2 and words in finished.stderr


def test_inspect_tells_an_array_from_a_model(run_cli, model_files):
    finished = run_cli("inspect", model_files / "train.npy")
    assert finished.returncode == 2 and "a NumPy array and not a model" in finished.stderr
