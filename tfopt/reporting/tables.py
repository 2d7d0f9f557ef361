"""Tables as plain text, Markdown and HTML: the one place that lays out rows and columns."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Sequence
from typing import Any


def text_table(head: Sequence[str], rows: Sequence[Sequence[Any]], limit: int | None = None) -> list[str]:
    """Lines of a table whose columns are aligned by spaces.

    Args:
        head: names of the columns.
        rows: cells, as many in a row as there are columns; None is shown as an empty cell.
        limit: None, or int >= 1: the rows after that many are only counted.

    Returns:
        list of str, empty without rows.
    """
    if not rows:
        return []
    shown = [["" if cell is None else str(cell) for cell in row] for row in (head, *rows[:limit])]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
    left_out = len(rows) - (len(rows) if limit is None else limit)
    return [*lines, *([f"... and {left_out} more"] if left_out > 0 else [])]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table; pipes in cells are escaped."""
    shown = [["" if cell is None else str(cell).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in shown]
    return [lines[0], f"|{' --- |' * len(head)}", *lines[1:]]


def html_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """An HTML table; cells are escaped."""

    def line(cells: Sequence[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape('' if cell is None else str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return f"<table><thead>{line(head, 'th')}</thead><tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table before it is laid out: the names of its columns, and its rows with a cell for each."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


Block = str | Table
"""A line of text or a table: the parts of a summary."""


def as_text(blocks: Iterable[Block], limit: int | None = None) -> str:
    """A summary as plain text; `limit` as for `text_table`."""
    lines: list[str] = []
    for block in blocks:
        lines += [block] if isinstance(block, str) else text_table(block.head, block.rows, limit)
    return "\n".join(lines)


def as_html(blocks: Iterable[Block]) -> str:
    """A summary as HTML."""
    return "".join(
        f"<div>{html.escape(block)}</div>" if isinstance(block, str) else html_table(block.head, block.rows) for block in blocks
    )


class Summarized:
    """The base of results that `print` shows as text and a notebook as HTML; a subclass gives the lines and tables."""

    def _summary(self) -> Iterable[Block]:
        raise NotImplementedError

    def __str__(self) -> str:
        return as_text(self._summary())

    def _repr_html_(self) -> str:
        return as_html(self._summary())
