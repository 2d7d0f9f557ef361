"""The command line: options, exit codes, and what is printed. Everything heavy happens in a child process."""

import pathlib
import sys

import click

from tfopt import __version__, errors
from tfopt.cli import terminal

_QUANTIZATIONS = ["int8", "int16x8", "dynamic", "float16", "float32"]
_IO = ["int8", "uint8", "float32"]
_PTQ = ["default", "best"]
_SCALES = ["0..1", "-1..1", "0..255"]


class _InputShape(click.ParamType):
    name = "NAME=1,80,6"

    def convert(self, value, param, ctx):
        name, equals, sizes = value.partition("=")
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            shape = ()
        if not (name and equals and shape):
            self.fail(f"a shape is written like images=1,224,224,3. Received: {value!r}.", param, ctx)
        return name, shape


def _options(*options):
    def decorate(function):
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_printing = _options(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--verbose", is_flag=True, help="Show what TensorFlow and its converter print."),
)
_loading = _options(
    click.option(
        "--custom-objects",
        metavar="FILE.py",
        help="Python file with the model's own classes and functions; it is run. A dict `custom_objects` in it adds names that "
        'Python cannot have, such as "<lambda>", and functions by the name of their Lambda layer.',
    ),
    click.option(
        "--architecture", metavar="MODULE:FUNCTION", help="Function that builds the model of a file that holds weights only."
    ),
    click.option("--allow-unsafe", is_flag=True, help="Run Python code that the model file holds (Lambda layers)."),
)
_verdict = _options(
    click.option("--scale", type=click.Choice(_SCALES), help="Range that a folder of images is brought to."),
    click.option(
        "--max-accuracy-drop", type=float, default=0.01, show_default=True, help="Accuracy that may be lost; 0.01 is a point."
    ),
    click.option("--min-sqnr", type=float, default=20.0, show_default=True, help="dB that every output must reach."),
    click.option("--threads", type=int, default=1, show_default=True, help="Threads of the TFLite interpreter."),
)
_runs = click.option("--runs", type=int, default=50, show_default=True, help="Timed runs in the benchmark.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="tfopt", message="%(prog)s %(version)s")
def cli():
    """Compress Keras models and ship them as verified int8 TFLite files.

    Exit codes: 0 all is well, 1 the check failed, 2 bad usage or input, 3 the converter failed, 70 a bug in tfopt,
    130 interrupted; of launch, that of the script.
    """


@cli.command()
@click.argument("model")
@click.option("-o", "--output", required=True, metavar="OUT.tflite", help="The file to write; its reports go beside it.")
@click.option("--calibrate", metavar="DATA", help="Representative data: .npy, .npz, a folder of images, or `synthetic`.")
@click.option("--validate", metavar="DATA", help="Data to check with, labelled or not; else the representative data.")
@click.option("--labels", metavar="FILE.npy", help="Labels of --validate, if it holds none.")
@click.option("--quantization", type=click.Choice(_QUANTIZATIONS), default="int8", show_default=True)
@click.option("--io", type=click.Choice(_IO), default="int8", show_default=True, help="Dtype of the inputs and outputs.")
@click.option("--ptq", type=click.Choice(_PTQ), default="default", show_default=True, help="best: search for a better int8 file.")
@click.option(
    "--skip-lowering",
    multiple=True,
    metavar="NAME",
    help="Leave out a rewriting that the report names; or `wider_ranges`; or `all`.",
)
@click.option("--allow-float", is_flag=True, help="Let ops without an int8 kernel stay float; they are listed.")
@click.option("--batch-size", type=int, default=1, show_default=True, help="Samples a run, fixed in the file.")
@click.option("--input-shape", "input_shapes", type=_InputShape(), multiple=True, help="Sizes that the model leaves open.")
@click.option("--samples", type=int, default=200, show_default=True, help="Representative samples to draw.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of that draw.")
@_verdict
@_runs
@click.option("--timeout", type=float, default=1800.0, show_default=True, help="Seconds that all of it may take.")
@_loading
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--keep-failed", is_flag=True, help="Write the file even if it fails its check.")
@_printing
def convert(
    model, output, calibrate, validate, labels, input_shapes, custom_objects, architecture, allow_unsafe, timeout, force,
    keep_failed, as_json, quiet, verbose, **settings,
):  # fmt: skip
    """Convert a Keras model (.keras, .h5, SavedModel) to TFLite, check it, time it, and write a report.

    \b
    tfopt convert model.h5 -o model.tflite --calibrate train.npy --validate test.npz
    """
    from tfopt.cli import pipeline

    report = pipeline.convert_to_file(
        model, output, calibrate=calibrate, validate=validate, labels=labels, custom_objects=custom_objects,
        architecture=architecture, allow_unsafe=allow_unsafe, force=force, keep_failed=keep_failed, verbose=verbose,
        show_progress=not (quiet or as_json), settings={**settings, "timeout": timeout, "input_shapes": dict(input_shapes) or None},
    )  # fmt: skip
    terminal.show(report, terminal.conversion, as_json=as_json, quiet=quiet)
    sys.exit(0 if report["check"]["passed"] else 1)


@cli.command()
@click.argument("tflite")
@click.option("--reference", metavar="MODEL", help="The Keras model, or another .tflite, whose outputs are right.")
@click.option("--data", metavar="DATA", help="Data to compare on: .npy, .npz (x and y), or a folder of images.")
@click.option("--labels", metavar="FILE.npy", help="Labels of --data, if it holds none.")
@click.option("--layers", is_flag=True, help="Compare every layer with the Keras model, worst first, and name causes of error.")
@_verdict
@_loading
@_printing
def check(tflite, as_json, quiet, verbose, **request):
    """Check a .tflite file: its structure, its outputs against a reference, its accuracy with labels.

    \b
    tfopt check model.tflite --reference model.h5 --data test.npz
    tfopt check model.tflite --reference model.h5 --data test.npz --layers
    """
    result = _run("tfopt.checking.check:check_file", {"tflite": tflite, **request}, verbose, not (quiet or as_json))
    terminal.show(result, lambda result: terminal.verdict(tflite, result), as_json=as_json, quiet=quiet)
    sys.exit(0 if result["passed"] else 1)


@cli.command()
@click.argument("tflite")
@click.option("--against", metavar="OTHER.tflite", help="A second file, timed in turn with the first.")
@click.option("--threads", type=int, default=1, show_default=True, help="Threads of the TFLite interpreter.")
@_runs
@click.option("--warmup", type=int, default=5, show_default=True, help="Runs before those that are timed.")
@_printing
def benchmark(tflite, as_json, quiet, verbose, **request):
    """Time a .tflite file on this CPU, alone or against another.

    \b
    tfopt benchmark int8.tflite --against float32.tflite
    """
    result = _run("tfopt.checking.benchmark:benchmark_file", {"tflite": tflite, **request}, verbose, not (quiet or as_json))
    terminal.show(result, lambda result: terminal.timing(tflite, request["against"], result), as_json=as_json, quiet=quiet)


@cli.command()
@click.argument("model")
@_loading
@_printing
def inspect(model, as_json, quiet, verbose, **request):
    """List what a .keras, .h5, SavedModel or .tflite holds: inputs, outputs, layers or ops, sizes, dtypes.

    \b
    tfopt inspect model.tflite
    """
    result = _run("tfopt.checking.inspect:inspect_file", {"path": model, **request}, verbose, not (quiet or as_json))
    terminal.show(result, lambda result: terminal.contents(model, result), as_json=as_json, quiet=quiet)


@cli.command()
@click.argument("model")
@click.option("-o", "--output", required=True, metavar="OUT.keras", help="The pruned model, .keras or .h5.")
@click.option("--sparsity", type=float, help="Fraction of zeros, such as 0.8.")
@click.option("--threshold", type=float, help="Instead: weights up to this magnitude become zero.")
@click.option("--block", type=int, nargs=2, metavar="ROWS COLUMNS", help="Prune blocks of this size.")
@click.option("--n-by-m", type=int, nargs=2, metavar="N M", help="Leave at most N of every M weights, such as 2 4.")
@click.option(
    "--scope", type=click.Choice(["layer", "global"]), default="layer", show_default=True, help="Where the sparsity counts."
)
@click.option("--include", multiple=True, metavar="GLOB", help="Layers to prune, by name or path; else the usual kernels.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Layers to leave as they are.")
@_loading
@click.option("--force", is_flag=True, help="Overwrite the output.")
@_printing
def prune(model, output, force, as_json, quiet, verbose, **request):
    """Set the weights of least magnitude to zero, without training, and tell what that brings.

    \b
    tfopt prune model.h5 -o pruned.keras --sparsity 0.5
    """
    from tfopt.cli import pipeline

    result = pipeline.prune_to_file(
        model, output, force=force, verbose=verbose, show_progress=not (quiet or as_json), **request
    )  # fmt: skip
    terminal.show(result, terminal.pruning, as_json=as_json, quiet=quiet)


@cli.command()
@click.option("-o", "--output", default="tfopt-demo", show_default=True, metavar="FOLDER", help="Where the demo's files go.")
@_printing
def demo(output, as_json, quiet, verbose):
    """Train a small CNN on handwritten digits, convert it to int8, check it, and show what came out."""
    from tfopt.cli import pipeline

    folder = pathlib.Path(output)
    show_progress = not (quiet or as_json)
    made = _run("tfopt.cli.demo:train", {"folder": str(folder)}, verbose, show_progress)
    report = pipeline.convert_to_file(
        made["model"], str(folder / "digits.tflite"), calibrate=made["calibrate"], validate=made["validate"], force=True,
        verbose=verbose, show_progress=show_progress, settings={},
    )  # fmt: skip
    terminal.show(report, lambda report: terminal.demo(folder, report), as_json=as_json, quiet=quiet)
    sys.exit(0 if report["check"]["passed"] else 1)


@cli.command(context_settings={"allow_interspersed_args": False})  # a dash behind the script is the script's
@click.option("-n", "--workers", type=int, default=1, show_default=True, help="Workers to start on this machine.")
@click.option("--threads-per-worker", type=int, metavar="N", help="Threads of each; CPUs are given out accordingly.")
@click.option("--max-restarts", type=int, default=0, show_default=True, help="Times to start all again after a failure.")
@click.option("--nodes", type=int, default=1, show_default=True, help="Machines that run this command, with -n workers each.")
@click.option("--node-rank", type=int, default=0, show_default=True, help="Number of this machine, from 0 on.")
@click.option("--coordinator", metavar="HOST:PORT", help="Node 0, for the others; workers use the ports behind this one.")
@click.option("-m", "--module", is_flag=True, help="SCRIPT is the name of a module.")
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def launch(**job):
    """Run a training script as several workers, each with its TF_CONFIG; all end when one fails.

    \b
    tfopt launch -n 2 --threads-per-worker 1 train.py --epochs 3
    tfopt launch --nodes 2 --node-rank 0 --coordinator host0:2222 train.py     (and --node-rank 1 on the other machine)
    """
    from tfopt.launcher import launch

    sys.exit(launch.run(launch.Job(**job)))


def main():
    """The console script `tfopt`."""
    try:
        sys.exit(cli.main(prog_name="tfopt", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted. Nothing was written.", err=True)
        sys.exit(130)
    except errors.TfoptError as error:
        if "--json" in sys.argv:
            terminal.print_json({"error": {"kind": type(error).__name__, "message": str(error)}})
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except RuntimeError as error:  # a bug, told by the child process with its traceback
        if "--json" in sys.argv:
            terminal.print_json({"error": {"kind": "bug", "message": str(error)}})
        click.echo(f"Error: {error}\nThis is a bug in tfopt.", err=True)
        sys.exit(70)


def _run(target, request, verbose, show_progress):
    from tfopt import isolation

    with terminal.progress(show_progress) as progress:
        return isolation.run(target, request, progress=progress, verbose=verbose)
