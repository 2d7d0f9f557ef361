"""`tfopt benchmark`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tfopt.cli import options

if TYPE_CHECKING:
    from tfopt.data.scaling import Scale


@click.command()
@click.argument("tflite")
@click.option("--against", metavar="OTHER.tflite", help="A second file, timed in turn with the first.")
@click.option("--data", metavar="DATA", help="The inputs are its first samples: .npy, .npz, or a folder of images.")
@options.scale
@options.threads
@options.runs
@click.option("--warmup", type=int, default=5, show_default=True, help="Runs before those that are timed.")
@options.large
@options.printing
def benchmark(
    tflite: str, against: str | None, data: str | None, scale: Scale | None, allow_large: bool, as_json: bool, quiet: bool,
    verbose: bool, **settings: int,
) -> None:  # fmt: skip
    """Time a .tflite file on this CPU, alone or against another.

    \b
    tfopt benchmark int8.tflite --against float32.tflite
    """
    from tfopt.checking.settings import BenchmarkRequest, BenchmarkSettings
    from tfopt.cli import terminal
    from tfopt.reporting import summary

    request = BenchmarkRequest(
        tflite=tflite, against=against, data=data, scale=scale, allow_large=allow_large, settings=BenchmarkSettings(**settings)
    )
    options.require_existing(tflite, against, data=[data])
    found = options.run_in_child(
        "tfopt.checking.benchmark:benchmark_file", request, show_progress=not (quiet or as_json), verbose=verbose
    )
    if as_json:
        terminal.print_json(found)
    elif not quiet:
        terminal.print_blocks(summary.of_benchmark(found, tflite, against))
