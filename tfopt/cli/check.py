"""`tfopt check`."""

from __future__ import annotations

import sys
from typing import Any

import click

from tfopt.cli import options


@click.command()
@click.argument("tflite")
@click.option("--reference", metavar="MODEL", help="The Keras model, or another .tflite, whose outputs are right.")
@click.option("--data", metavar="DATA", help="Data to compare on: .npy, .npz (x and y), or a folder of images.")
@click.option("--labels", metavar="FILE.npy", help="Labels of --data, if it does not hold them.")
@click.option("--layers", is_flag=True, help="Compare every layer with the Keras model, worst first, and name causes of error.")
@options.limits
@options.threads
@options.loading
@options.printing
def check(
    tflite: str, reference: str | None, data: str | None, labels: str | None, layers: bool, custom_objects: str | None,
    architecture: str | None, allow_unsafe: bool, allow_large: bool, as_json: bool, quiet: bool, verbose: bool, **settings: Any,
) -> None:  # fmt: skip
    """Check a .tflite file: its structure, its outputs against a reference, its accuracy with labels.

    \b
    tfopt check model.tflite --reference model.h5 --data test.npz
    tfopt check model.tflite --reference model.h5 --data test.npz --layers
    """
    from tfopt.checking.settings import CheckRequest, CheckSettings
    from tfopt.cli import terminal
    from tfopt.loading.options import LoadOptions
    from tfopt.reporting import summary

    request = CheckRequest(
        tflite=tflite, reference=reference, data=data, labels=labels, layers=layers, settings=CheckSettings(**settings),
        loading=LoadOptions(
            custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe, allow_large=allow_large
        ),
    )  # fmt: skip
    options.require_existing(tflite, reference, data=(data, labels))
    found = options.run_in_child("tfopt.checking.check:check_file", request, show_progress=not (quiet or as_json), verbose=verbose)
    if as_json:
        terminal.print_json(found)
    elif not quiet:
        terminal.print_blocks(summary.of_check(found, tflite))
        terminal.print_verdict(found)
    sys.exit(0 if found["passed"] else 1)
