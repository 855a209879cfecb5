"""A table as a plain value, shown by rich on a console and as HTML on a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

Cell = str | int | float
# Below this width lines are broken rather than cells cut off.
WIDE = 100
LONG = 24  # characters of a cell that may be broken anywhere on a page


@dataclass(frozen=True)
class Table:
    """Rows of texts and numbers; numbers get thousands separators and stand to the right.

    ``note`` is printed below. The last column, where the prose is, is the one that may wrap.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def is_number(self, column: int) -> bool:
        """Whether a column holds nothing but numbers (and ``–`` for there is none)."""
        cells = [row[column] for row in self.rows]
        return any(not isinstance(c, str) for c in cells) and all(
            not isinstance(c, str) or c in ("", "–") for c in cells
        )

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        if self.title:
            yield Text(self.title, style="bold")
        grid = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for index, name in enumerate(self.columns):
            number, last = self.is_number(index), index == len(self.columns) - 1
            whole = options.max_width >= WIDE and (number or not last)
            grid.add_column(
                Text(name),
                justify="right" if number else "left",
                no_wrap=whole,
                overflow="fold",
            )
        for row in self.rows:
            # Text, so that a bracket in a name is no markup.
            grid.add_row(*(Text(text(cell)) for cell in row))
        yield grid
        if self.note:
            yield Text(self.note, style="dim")
        yield Text("")

    def to_html(self) -> str:
        """The table as an HTML fragment, in a box of its own that scrolls if it is too wide."""
        numbers = [self.is_number(i) for i in range(len(self.columns))]
        head = "".join(map(_head, self.columns, numbers))
        body = "\n".join(f"<tr>{''.join(map(_cell, row, numbers))}</tr>" for row in self.rows)
        title = f"<h3>{escape(self.title)}</h3>\n" if self.title else ""
        note = f"\n<p class=note>{escape(self.note)}</p>" if self.note else ""
        return (
            f"{title}<div class=wide tabindex=0><table>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}\n</tbody>\n</table></div>{note}"
        )

    def to_markdown(self) -> str:
        """The table in GitHub's Markdown, without title and note."""
        sides = ["--:" if self.is_number(i) else "---" for i in range(len(self.columns))]
        lines = (self.columns, sides, *self.rows)
        cells = ([text(cell).replace("|", r"\|") for cell in line] for line in lines)
        return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def text(cell: Cell) -> str:
    """A cell as it is printed: 60416 -> 60,416 and 0.12345 -> 0.1234."""
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.4g}"


def _head(name: str, number: bool) -> str:
    return f"<th scope=col{' class=number' if number else ''}>{escape(name)}</th>"


def _cell(cell: Cell, number: bool) -> str:
    shown = text(cell)
    kind = "number" if number else "long" if len(shown) > LONG else ""
    return f"<td{f' class={kind}' if kind else ''}>{escape(shown)}</td>"
