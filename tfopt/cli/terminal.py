"""How results are printed: tables with rules on a terminal, plain text in a pipe, or one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from tfopt.reporting import summary
from tfopt.reporting.tables import Block, Table, as_text

_LIMIT = 40  # rows of a table that are printed; `--json` has all


def print_json(document: Any) -> None:
    """Prints one JSON document on standard output."""
    print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


def print_blocks(blocks: Iterable[Block]) -> None:
    """Prints the lines and tables of a summary; long tables are cut."""
    for block in blocks:
        if isinstance(block, Table) and block.rows:
            _print_table(block)
        elif isinstance(block, str):
            print(block)


def print_verdict(check: dict[str, Any]) -> None:
    """Prints PASSED or FAILED, with the reasons."""
    first, *reasons = summary.verdict(check, _LIMIT)
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(first, style=f"bold {'green' if check['passed'] else 'red'}")
    else:
        print(first)
    for reason in reasons:
        print(reason)


def _print_table(block: Table) -> None:
    if not sys.stdout.isatty():
        print(as_text([block], _LIMIT))
    else:
        from rich import table
        from rich.console import Console

        grid = table.Table(*block.head, header_style="bold")
        for row in block.rows[:_LIMIT]:
            grid.add_row(*("" if cell is None else str(cell) for cell in row))
        Console().print(grid, markup=False)
        if len(block.rows) > _LIMIT:
            print(f"... and {len(block.rows) - _LIMIT} more")
    if len(block.rows) > _LIMIT:
        print("--json lists all rows.")
