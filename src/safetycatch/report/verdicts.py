"""The glyph and the style of every verdict, so that colour is never the only sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.report import numbers
from safetycatch.report.layout import (
    tagged,
)

if TYPE_CHECKING:
    from markupsafe import Markup


GLYPHS = {
    "BETTER": ("better", "▲"),
    "WORSE": ("worse", "▼"),
    "EQUIVALENT": ("equal", "="),
    "INCONCLUSIVE": ("open", "?"),
    "EXPLORING": ("open", "○"),
    "REFERENCE": ("open", "○"),
    "REFUSED": ("refused", "✕"),
    "CERTIFIED": ("better", "✓"),
    "PROVISIONAL": ("open", "?"),
    "passed": ("quiet", "✓"),
    "failed": ("worse", "▼"),
}


def verdict_tag(word: str | None) -> str | Markup:
    """Return a verdict with its glyph; no verdict is a dash."""
    if not word or word == "none":
        return numbers.ABSENT
    css, glyph = GLYPHS.get(word, ("quiet", ""))
    return tagged(word, css, glyph)
