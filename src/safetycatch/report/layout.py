"""The few things a section of the report is made of: prose, dot plot, figure, table, and what is behind a fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from safetycatch.report import diff, escaping

if TYPE_CHECKING:
    from markupsafe import Markup

    from safetycatch.report.content import ReportContent
    from safetycatch.report.content import Section as SectionName

MAX_GRID_ROWS = 200
FOLD_CHARACTERS = 280  # longer texts are folded behind their beginning

Align = Literal["text", "number", "wrap"]


@dataclass(frozen=True, slots=True)
class Head:
    """A column's head: numbers are aligned right, `wrap` breaks long text anywhere."""

    text: str
    align: Align = "text"


def heads(*names: str) -> tuple[Head, ...]:
    """Return column heads; a name that starts with `#` is a column of numbers, with `~` one of long text."""
    kinds: dict[str, Align] = {"#": "number", "~": "wrap"}
    return tuple(Head(name.lstrip("#~"), kinds.get(name[:1], "text")) for name in names)


@dataclass(frozen=True, slots=True)
class Grid:
    """An HTML table whose first column heads its rows; `more` says what is left out; `css` its style."""

    kind: ClassVar[str] = "grid"
    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[str | Markup, ...], ...]
    more: str = ""
    css: str = ""


def grid(
    caption: str, columns: tuple[Head, ...], rows: list[tuple[str | Markup, ...]], source: str = "", css: str = ""
) -> Grid:
    """Return a table of at most `MAX_GRID_ROWS` rows that says how many more are in `source`."""
    left_out = len(rows) - MAX_GRID_ROWS
    more = f"and {left_out:,} more in {source}" if left_out > 0 else ""
    return Grid(caption, columns, tuple(rows[:MAX_GRID_ROWS]), more, css)


@dataclass(frozen=True, slots=True)
class DotRow:
    """One row of a dot plot: what it is, its drawing, and the same in words."""

    label: str
    note: str
    drawing: Markup
    value: str
    interval: str
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class DotPlot:
    """A table whose middle column is drawn; `scale` is its axis."""

    kind: ClassVar[str] = "dots"
    caption: str
    heads: tuple[str, str, str]
    rows: tuple[DotRow, ...]
    scale: Markup
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawing with its caption."""

    kind: ClassVar[str] = "figure"
    drawing: Markup
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph; `quiet` for remarks."""

    kind: ClassVar[str] = "prose"
    text: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Fold:
    """Tables that are closed until asked for."""

    kind: ClassVar[str] = "fold"
    title: str
    grids: tuple[Grid, ...]


Block = Grid | DotPlot | Figure | Prose | Fold


@dataclass(frozen=True, slots=True)
class Section:
    """One numbered part of the report; `wide` ones take the whole width."""

    id: str
    title: str
    blocks: tuple[Block, ...]
    wide: bool = True


def missing(content: ReportContent, name: SectionName, reason: str, what: str = "") -> Prose:
    """Return "Not measured, because …": the caller's reason, else `reason`."""
    because = content.unmeasured.get(name, reason).removeprefix("because ").rstrip(".")
    return Prose(f"{what + ': n' if what else 'N'}ot measured, because {because}.", quiet=True)


def folded(
    text: str, whole: Markup | None = None, start: Markup | None = None, limit: int = escaping.MAX_CHARACTERS
) -> Markup:
    """Return `text` as a cell, a long one folded behind its start; `whole` and `start` when it is marked up already."""
    from markupsafe import Markup

    if not text:
        return Markup('<span class="quiet">(empty)</span>')
    whole = escaping.html(text, limit) if whole is None else whole
    if len(text) <= FOLD_CHARACTERS:
        return whole
    start = escaping.html(text[: diff.START_CHARACTERS]) if start is None else start
    count = f"{len(text):,} characters"
    return Markup(  # noqa: S704  both texts are escaped
        f'<details><summary><span class="start">{start}… </span><em>{count}</em></summary>{whole}</details>'
    )


def tagged(word: str, css: str, glyph: str = "") -> Markup:
    """Return a word with a glyph beside it, so that colour is never the only sign."""
    from markupsafe import Markup

    mark = f'<span aria-hidden="true">{escaping.html(glyph)}</span> ' if glyph else ""
    return Markup(f'<span class="tag {css}">{mark}{escaping.html(word, 200)}</span>')  # noqa: S704
