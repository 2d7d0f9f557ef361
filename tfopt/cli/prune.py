"""`tfopt prune`."""

from __future__ import annotations

from typing import Any

import click

from tfopt import errors
from tfopt.cli import options


@click.command()
@click.argument("model")
@click.option("-o", "--output", required=True, metavar="OUT.keras", help="The pruned model, .keras or .h5.")
@click.option("--sparsity", type=float, help="Fraction of zeros, such as 0.8.")
@click.option("--threshold", type=float, help="Instead: weights up to this magnitude become zero.")
@click.option("--block", type=int, nargs=2, metavar="ROWS COLUMNS", help="Prune blocks of this size.")
@click.option("--n-by-m", type=int, nargs=2, metavar="N M", help="Leave at most N of every M weights, such as 2 4.")
@click.option(
    "--scope",
    type=click.Choice(["layer", "global"]),
    default="layer",
    show_default=True,
    help="Reach the sparsity in each layer, or in all layers together.",
)
@click.option("--include", multiple=True, metavar="GLOB", help="Layers to prune, by name or path. Default: the usual kernels.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Layers to leave as they are.")
@options.loading
@click.option("--force", is_flag=True, help="Overwrite the output.")
@options.printing
def prune(
    output: str, custom_objects: str | None, architecture: str | None, allow_unsafe: bool, allow_large: bool, force: bool,
    as_json: bool, quiet: bool, verbose: bool, **request: Any,
) -> None:  # fmt: skip
    """Set the weights of least magnitude to zero, without training, and tell what that brings.

    \b
    tfopt prune model.h5 -o pruned.keras --sparsity 0.5
    """
    import dataclasses
    import pathlib
    import tempfile

    from tfopt import files
    from tfopt.cli import terminal
    from tfopt.cli.prune_file import PruneRequest
    from tfopt.loading.options import LoadOptions
    from tfopt.reporting import summary

    path = pathlib.Path(output)
    if path.suffix not in (".keras", ".h5"):
        raise errors.ArgumentError(f"The output must be a .keras or .h5 file. Received: {path}.")
    asked = PruneRequest(
        **request,
        loading=LoadOptions(
            custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe, allow_large=allow_large
        ),
    )
    files.require_writable([path], overwrite=force)
    options.require_existing(asked.model)
    with tempfile.TemporaryDirectory(prefix="tfopt-") as folder:
        asked = dataclasses.replace(asked, staging=str(pathlib.Path(folder) / f"model{path.suffix}"))
        found = options.run_in_child(
            "tfopt.cli.prune_file:prune_file", asked, show_progress=not (quiet or as_json), verbose=verbose
        )
        files.write({path: pathlib.Path(asked.staging).read_bytes()}, overwrite=force)
    if as_json:
        terminal.print_json({**found, "written": str(path)})
    elif not quiet:
        terminal.print_blocks(summary.of_pruning(found))
        print(f"Written: {path}")
