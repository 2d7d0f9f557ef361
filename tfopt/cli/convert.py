"""`tfopt convert`."""

from __future__ import annotations

import sys
from typing import Any

import click

from tfopt.cli import options


@click.command()
@click.argument("model")
@click.option("-o", "--output", required=True, metavar="OUT.tflite", help="The file to write; its reports go beside it.")
@click.option("--calibrate", metavar="DATA", help="Representative data: .npy, .npz, a folder of images, or `synthetic`.")
@click.option("--validate", metavar="DATA", help="Data to check with, labelled or not. Default: the representative data.")
@click.option("--labels", metavar="FILE.npy", help="Labels of --validate, if it does not hold them.")
@click.option(
    "--quantization",
    type=click.Choice(["int8", "int16x8", "dynamic", "float16", "float32"]),
    default="int8",
    show_default=True,
    help="Kind of file to make.",
)
@click.option(
    "--io",
    type=click.Choice(["int8", "uint8", "float32"]),
    default="int8",
    show_default=True,
    help="Dtype of the inputs and outputs.",
)
@click.option(
    "--ptq",
    type=click.Choice(["default", "best"]),
    default="default",
    show_default=True,
    help="best: search for a better int8 file.",
)
@click.option(
    "--skip-lowering",
    multiple=True,
    metavar="NAME",
    help="Leave out a rewriting that the report names; or `wider_ranges`; or `all`.",
)
@click.option(
    "--allow-float", is_flag=True, help="Let ops without an int8 kernel, and layers that int8 ruins, stay float; they are listed."
)
@click.option("--logits", is_flag=True, help="Leave the last softmax or sigmoid out: the outputs are logits.")
@click.option("--split-outputs", is_flag=True, help="Make the parts of a last Concatenate outputs of their own.")
@click.option("--batch-size", type=int, default=1, show_default=True, help="Samples in a run, fixed in the file.")
@click.option(
    "--input-shape", "input_shapes", type=options.InputShape(), multiple=True, help="Dimensions that the model leaves as None."
)
@click.option("--samples", type=int, default=200, show_default=True, help="Number of representative samples to draw.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of that draw.")
@options.limits
@options.threads
@options.runs
@click.option("--timeout", type=float, default=1800.0, show_default=True, help="Seconds that all of it may take.")
@options.loading
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--keep-failed", is_flag=True, help="Write the file even if it fails its check.")
@options.printing
def convert(
    model: str, output: str, calibrate: str | None, validate: str | None, labels: str | None,
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...], custom_objects: str | None, architecture: str | None,
    allow_unsafe: bool, allow_large: bool, force: bool, keep_failed: bool, as_json: bool, quiet: bool, verbose: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """Convert a Keras model (.keras, .h5, SavedModel) to TFLite, check it, time it, and write a report.

    \b
    tfopt convert model.h5 -o model.tflite --calibrate train.npy --validate test.npz
    """
    import pathlib

    from tfopt.cli import terminal
    from tfopt.cli.convert_file import convert_to_file, print_conversion
    from tfopt.conversion.settings import ConversionRequest, Settings
    from tfopt.loading.options import LoadOptions

    request = ConversionRequest(
        model=model, representative_data=calibrate, validation_data=validate, labels=labels,
        settings=Settings(**settings, input_shapes=dict(input_shapes) or None),
        loading=LoadOptions(
            custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe, allow_large=allow_large
        ),
    )  # fmt: skip
    shown = {"show_progress": not (quiet or as_json), "verbose": verbose}
    found = convert_to_file(request, pathlib.Path(output), overwrite=force, keep_failed=keep_failed, shown=shown)
    if as_json:
        terminal.print_json(found)
    elif not quiet:
        print_conversion(found, request, pathlib.Path(output))
    sys.exit(0 if found["check"]["passed"] else 1)
