"""The command line: its commands, exit codes and errors. Everything heavy happens in a child process."""

from __future__ import annotations

import sys

import click

from tfopt import __version__, errors
from tfopt.cli.benchmark import benchmark
from tfopt.cli.check import check
from tfopt.cli.convert import convert
from tfopt.cli.demo import demo
from tfopt.cli.inspect import inspect
from tfopt.cli.launch import launch
from tfopt.cli.prune import prune


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="tfopt", message="%(prog)s %(version)s")
def cli() -> None:
    """Compress Keras models and ship them as verified int8 TFLite files.

    Exit codes: 0 success, 1 the check failed, 2 bad usage or input, 3 the converter or the TFLite runtime failed,
    70 a bug in tfopt, 130 interrupted.
    `tfopt launch` returns the exit code of the script.
    """


for command in (convert, check, benchmark, inspect, prune, demo, launch):
    cli.add_command(command)


def main() -> None:
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
        _fail(type(error).__name__, str(error), f"Error: {error}", error.exit_code)
    except RuntimeError as error:  # a bug, reported by the child process with its traceback
        _fail("bug", str(error), f"Error: {error}\nThis is a bug in tfopt.", 70)


def _fail(kind: str, message: str, shown: str, exit_code: int) -> None:
    if "--json" in sys.argv:
        from tfopt.cli import terminal

        terminal.print_json({"error": {"kind": kind, "message": message}})
    click.echo(shown, err=True)
    sys.exit(exit_code)
