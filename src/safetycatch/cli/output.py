"""What goes to which stream: lines for people, or one JSON document on stdout and everything else on stderr."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

LABEL_WIDTH = 9
NARROW = 40
COLOURS = {"good": "32", "bad": "31", "note": "33", "faint": "2", "strong": "1"}


class Output:
    """The one place that prints; with `json` people's lines go to stderr and `document` prints once on stdout."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    def line(self, text: str = "") -> None:
        """Print a line of ours; text from data or models was made safe by the caller."""
        stream = sys.stderr if self.json else sys.stdout
        stream.write(f"{text}\n")
        stream.flush()

    def field(self, label: str, text: str, kind: str = "") -> None:
        """Print `  label    text`; `text` may be anybody's, its own line breaks are shown as text."""
        self.line(f"  {label:<{LABEL_WIDTH}} {self.painted(safe(text), kind)}")

    def block(self, label: str, lines: Sequence[str]) -> None:
        """Print several lines under one label."""
        for number, text in enumerate(lines):
            self.field(label if number == 0 else "", text)

    def document(self, value: Any, *, line: bool = False) -> None:
        """Print the JSON document, on one line where asked; without `json` nothing."""
        if self.json:
            indent = None if line else 2
            sys.stdout.write(json.dumps(plain(value), ensure_ascii=True, indent=indent, allow_nan=False) + "\n")
            sys.stdout.flush()

    def painted(self, text: str, kind: str) -> str:
        """Return `text` in a colour on a terminal; the words alone say the same."""
        stream = sys.stderr if self.json else sys.stdout
        return f"\x1b[{COLOURS[kind]}m{text}\x1b[0m" if kind and coloured(stream) else text

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Print rows in columns; the last column is wrapped on a terminal and whole when piped."""
        from rich.cells import cell_len

        cells = [[safe(cell) for cell in row] for row in rows]
        widths = [max(cell_len(row[at]) for row in cells) for at in range(len(cells[0]) - 1)] if cells else []
        indent = sum(widths) + 2 * len(widths)
        wide = shutil.get_terminal_size().columns - indent if sys.stdout.isatty() else 0
        for row in cells:
            start = "".join(
                cell + " " * (width - cell_len(cell) + 2) for cell, width in zip(row[:-1], widths, strict=True)
            )
            parts = textwrap.wrap(row[-1], wide) if wide >= NARROW else [row[-1]]
            for number, part in enumerate(parts or [""]):
                self.line(((start if number == 0 else " " * indent) + part).rstrip())


def safe(text: object) -> str:
    """Return `text` as one line that no terminal obeys."""
    from safetycatch.report.escaping import terminal_safe

    return terminal_safe(str(text))


def note(text: str = "") -> None:
    """Print a line on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def coloured(stream: Any) -> bool:
    """Whether a stream is a terminal that wants colour (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def plain(value: Any) -> Any:
    """Return `value` as JSON types: numbers that are no numbers become null, unknown objects their text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)


@contextmanager
def quiet_stdout(output: Output) -> Generator[None]:
    """Send whatever others print to stderr while a JSON document is being made, child processes included."""
    if not output.json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
