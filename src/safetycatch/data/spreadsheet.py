"""Cells that no spreadsheet takes for a formula, and the way back to the exact text."""

from __future__ import annotations

# What a spreadsheet takes for a formula; the full-width forms too, which some make narrow first.
TRIGGERS = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
SHIELD = "'"


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet may take `text` for a formula, or a defused one for the text itself."""
    return text.lstrip(SHIELD).startswith(TRIGGERS)


def defused(text: str) -> str:
    """Return `text` with a `'` before what would start a formula; `restored` takes exactly that away."""
    return SHIELD + text if is_formula(text) else text


def restored(text: str) -> str:
    """Return the text that `defused` was given."""
    return text[1:] if text.startswith(SHIELD) and is_formula(text) else text
