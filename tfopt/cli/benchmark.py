"""`tfopt benchmark`."""

from __future__ import annotations

import click

from tfopt.cli import options


@click.command()
@click.argument("tflite")
@click.option("--against", metavar="OTHER.tflite", help="A second file, timed in turn with the first.")
@options.threads
@options.runs
@click.option("--warmup", type=int, default=5, show_default=True, help="Runs before those that are timed.")
@options.printing
def benchmark(tflite: str, against: str | None, as_json: bool, quiet: bool, verbose: bool, **settings: int) -> None:
    """Time a .tflite file on this CPU, alone or against another.

    \b
    tfopt benchmark int8.tflite --against float32.tflite
    """
    from tfopt.checking.settings import BenchmarkRequest, BenchmarkSettings
    from tfopt.cli import terminal
    from tfopt.reporting import summary

    request = BenchmarkRequest(tflite=tflite, against=against, settings=BenchmarkSettings(**settings))
    options.require_existing(tflite, against)
    found = options.run_in_child(
        "tfopt.checking.benchmark:benchmark_file", request, show_progress=not (quiet or as_json), verbose=verbose
    )
    if as_json:
        terminal.print_json(found)
    elif not quiet:
        terminal.print_blocks(summary.of_benchmark(found, tflite, against))
