"""`tfopt inspect`."""

from __future__ import annotations

import click

from tfopt.cli import options


@click.command()
@click.argument("model")
@options.loading
@options.printing
def inspect(
    model: str,
    custom_objects: str | None,
    architecture: str | None,
    allow_unsafe: bool,
    allow_large: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """List the contents of a .keras, .h5, SavedModel or .tflite: inputs, outputs, layers or ops, sizes, dtypes.

    \b
    tfopt inspect model.tflite
    """
    from tfopt.checking.settings import InspectRequest
    from tfopt.cli import terminal
    from tfopt.loading.options import LoadOptions
    from tfopt.reporting import summary

    request = InspectRequest(
        path=model,
        loading=LoadOptions(
            custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe, allow_large=allow_large
        ),
    )
    options.require_existing(model)
    found = options.run_in_child(
        "tfopt.checking.inspect:inspect_file", request, show_progress=not (quiet or as_json), verbose=verbose
    )
    if as_json:
        terminal.print_json(found)
    elif not quiet:
        terminal.print_blocks(summary.of_inspection(found, model))
