r"""The one place where text from data and models is made safe to show, in HTML, a terminal or Markdown.

Characters that a reader cannot see, or that change what others look like (controls, ANSI's escape, bidi, zero-width,
tags, unpaired surrogates, towers of combining marks), are written in a visible form: `\u202e`. Text is cut at a limit
and says by how much.
"""

from __future__ import annotations

import html as html_escapes
import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_CHARACTERS = 2_000
MAX_COMBINING = 3
MAX_MARKDOWN_CHARACTERS = 160

# Invisible although Unicode calls them letters, marks or symbols (Default_Ignorable_Code_Point, and the blank Braille).
_INVISIBLE = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0xFE00, 0xFE0F), *range(0xE0100, 0xE01F0)]
)
_PROSE = re.compile(r"""[\w .,:;%+±=()\[\]'"?·…—≥≤-]*""")


def _form(char: str) -> str:
    code = ord(char)
    if char in "\r\n\t":
        return {"\r": "\\r", "\n": "\\n", "\t": "\\t"}[char]
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _hidden(char: str) -> bool:
    return ord(char) in _INVISIBLE or (not char.isprintable() and unicodedata.category(char) != "Zs")


def visible(text: str, *, keep: str = "\n\t") -> str:
    r"""Return `text` with every invisible or display-changing character in its `\u…` form, except those of `keep`."""
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) or unicodedata.category(char) == "Me" else 0
        hidden = char not in keep and (_hidden(char) or marks > MAX_COMBINING)
        shown.append(_form(char) if hidden else char)
    return "".join(shown)


def shortened(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return `text` cut to `limit` characters, with the number of characters left out."""
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit:,} more characters]"


def html(text: str, limit: int = MAX_CHARACTERS) -> Markup:
    """Return `text` as HTML that holds no element of its own, fit for content and for quoted attributes."""
    from markupsafe import Markup

    return Markup(html_escapes.escape(visible(shortened(text, limit)), quote=True))  # noqa: S704  escaped right here


def finalize(value: Any) -> Any:
    """Make one template expression safe: Jinja calls it on everything that is not template text.

    Raises: TypeError for anything but text, markup of our own and whole numbers, so that nothing is shown by accident.
    """
    from markupsafe import Markup

    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return html(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"a report shows text, not {type(value).__name__}")


def terminal_safe(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return `text` as one line that moves no cursor and sets no colour: newlines and tabs are visible too."""
    return visible(shortened(text, limit), keep="")


def markdown_safe(text: str, limit: int = MAX_MARKDOWN_CHARACTERS) -> str:
    r"""Return `text` as a Markdown code span on one line, fit for a table cell.

    Nothing works inside a code span: no link, image, HTML, mention or formula. What could end it (a backtick) or the
    cell (a pipe) is written in its `\u…` form.
    """
    line = visible(shortened(text, limit), keep="").replace("`", "\\u0060").replace("|", "\\u007c").strip()
    return f"`{line}`" if line else "(empty)"


def markdown_prose(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return a sentence of ours as Markdown prose; one that holds anything else than words and numbers as code."""
    # `]` before `(` makes a link, "www." one without brackets, `__` emphasis.
    if _PROSE.fullmatch(text) and "](" not in text and "www." not in text.lower() and len(text) <= limit:
        return text.replace("_", "\\_").replace("[", "\\[")
    return markdown_safe(text, limit)
