"""Tables are laid out as plain text, Markdown and HTML, whatever is in their cells."""

import html.parser

import pytest

from tfopt.reporting.tables import Table, as_html, as_text, html_table, markdown_table, text_table

HEAD, ROWS = ["name", "count"], [["a", 1], ["longer", None], ["", 12345]]


def test_columns_of_text_are_aligned_and_none_is_empty():
    assert text_table(HEAD, ROWS) == ["name    count", "a       1", "longer", "        12345"]
    assert text_table(HEAD, []) == []


@pytest.mark.parametrize(("limit", "last"), [(1, ["... and 2 more"]), (2, ["... and 1 more"]), (3, []), (9, []), (None, [])])
def test_rows_over_the_limit_are_counted(limit, last):
    lines, shown = text_table(HEAD, ROWS, limit), ROWS[:limit]
    assert [line.split() for line in lines[1 : 1 + len(shown)]] == [[str(cell) for cell in row if cell] for row in shown]
    assert lines[1 + len(shown) :] == last


def test_rows_that_are_not_shown_widen_no_column():
    assert text_table(["a", "b"], [["x", "y"], ["very long", "y"]], 1) == ["a  b", "x  y", "... and 1 more"]


def test_markdown_escapes_pipes():
    lines = markdown_table(["a|b", "c"], [["x|y|z", 1], ["", None]])
    assert lines == [r"| a\|b | c |", "| --- | --- |", r"| x\|y\|z | 1 |", "|  |  |"]


class Cells(html.parser.HTMLParser):
    """Collects [(tag, text)] of the cells."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.tag = [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        assert not attributes and tag in ("table", "thead", "tbody", "tr", "th", "td", "div"), "only what the layout writes"
        if tag in ("th", "td"):
            self.cells.append((tag, ""))
        self.tag = tag

    def handle_endtag(self, tag):
        self.tag = None

    def handle_data(self, data):
        if self.tag in ("th", "td"):
            self.cells[-1] = (self.tag, data)


def test_html_has_every_cell_as_it_is():
    name = "<script>alert('x')</script> & \"y\""
    cells = Cells(html_table(["<b>", "count"], [[name, None], ["b", 2]])).cells
    assert cells == [("th", "<b>"), ("th", "count"), ("td", name), ("td", ""), ("td", "b"), ("td", "2")]


def test_a_summary_mixes_lines_and_tables():
    blocks = ["first <line>", Table(HEAD, ROWS), Table(HEAD, []), "last"]
    assert as_text(blocks) == "\n".join(["first <line>", *text_table(HEAD, ROWS), "last"])
    assert as_text(blocks, 1).splitlines()[-2:] == ["... and 2 more", "last"]
    assert as_html(blocks) == f"<div>first &lt;line&gt;</div>{html_table(HEAD, ROWS)}{html_table(HEAD, [])}<div>last</div>"
