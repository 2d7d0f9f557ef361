"""`tfopt demo`."""

from __future__ import annotations

import sys

import click

from tfopt.cli import options


@click.command()
@click.option("-o", "--output", default="tfopt-demo", show_default=True, metavar="FOLDER", help="Folder for the demo's files.")
@options.printing
def demo(output: str, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Train a small CNN on handwritten digits, convert it to int8, check it, and show the result."""
    import pathlib

    from tfopt.cli import terminal
    from tfopt.cli.convert_file import convert_to_file, print_conversion
    from tfopt.conversion.settings import ConversionRequest
    from tfopt.request import PathRequest

    folder = pathlib.Path(output)
    shown = {"show_progress": not (quiet or as_json), "verbose": verbose}
    made = options.run_in_child("tfopt.cli.demo_model:train", PathRequest(str(folder)), **shown)
    request = ConversionRequest(model=made["model"], representative_data=made["calibrate"], validation_data=made["validate"])
    path = folder / "digits.tflite"
    found = convert_to_file(request, path, overwrite=True, keep_failed=False, shown=shown)
    if as_json:
        terminal.print_json(found)
    elif not quiet:
        print_conversion(found, request, path)
        print(f"The files are in {folder}. The same command for your own model:")
        print("  tfopt convert MODEL.h5 -o MODEL.tflite --calibrate TRAIN.npy --validate TEST.npz")
    sys.exit(0 if found["check"]["passed"] else 1)
