"""Progress of long work: what is reported, and the bar that shows it on a terminal or in a notebook."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

Report = dict[str, Any]
"""One report of progress: "stage" names the work, "done" and "total" count it; other keys depend on the stage."""

Progress = Callable[[Report], None]
"""A function that is called with each report."""


def ignore(report: Report) -> None:
    """Does nothing with a report: the `Progress` of work that nobody watches."""


@contextlib.contextmanager
def progress_bar(verbose: bool = True) -> Iterator[Progress]:
    """Yields a function for reports that draws a bar on standard error.

    Nothing is drawn if standard error is neither a terminal nor the output of a notebook, as in a pipe.

    Args:
        verbose: bool, whether a bar is wanted at all.
    """
    if not (verbose and (sys.stderr.isatty() or "ipykernel" in sys.modules)):
        yield ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("start", total=None)

        def report(event: Report) -> None:
            if "stage" in event:
                bar.update(task, description=event["stage"], completed=event.get("done", 0), total=event.get("total"))

        yield report
