"""How people write a verdict: yes, 1, good … as `pass`, and grades and classes as their scale has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.configuration import nearest
from safetycatch.errors import DataError
from safetycatch.judge_settings import FAIL, PASS

if TYPE_CHECKING:
    from collections.abc import Sequence

PASSES = frozenset({"pass", "passed", "yes", "y", "1", "1.0", "true", "good", "ok", "correct"})
FAILS = frozenset({"fail", "failed", "no", "n", "0", "0.0", "false", "bad", "wrong", "incorrect"})
SHOWN = 4


def as_verdicts(
    texts: Sequence[str], criteria: Sequence[str], scale: Sequence[str] | None, places: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return each label as a verdict of the scale, and notes on how it was spelled; labels of a criterion pass or fail.

    Without a `scale`, labels that are all ways to write pass and fail are those; any others are classes as written.
    Raises: DataError at the first of `places` whose label the scale does not have.
    """
    whole = [text for text, criterion in zip(texts, criteria, strict=True) if not criterion]
    binary = scale is None and all(_pass_fail(text) for text in whole)
    verdicts: list[str] = []
    spelled: dict[str, str] = {}
    for text, criterion, place in zip(texts, criteria, places, strict=True):
        allowed = (PASS, FAIL) if criterion or binary else scale
        verdict = text.strip() if allowed is None else _among(allowed, text)
        if verdict is None:
            fix = _meant(text, allowed or ())
            raise DataError(f"the label {text[:60]!r}", where=place, expected=" or ".join(allowed or ()), fix=fix)
        if verdict != text.strip():
            spelled[text.strip()] = verdict
        verdicts.append(verdict)
    notes: list[str] = []
    if scale is None and not binary:
        classes = sorted({verdict for verdict, criterion in zip(verdicts, criteria, strict=True) if not criterion})
        shown = ", ".join(repr(name[:20]) for name in classes[:SHOWN])
        notes.append(f"labels are classes, as they are written: {shown}{' …' if len(classes) > SHOWN else ''}")
    if not spelled:
        return verdicts, notes
    shown = ", ".join(f"{text[:20]!r} as {verdict}" for text, verdict in list(spelled.items())[:SHOWN])
    return verdicts, [*notes, f"labels are read so: {shown}{' …' if len(spelled) > SHOWN else ''}"]


def _meant(text: str, allowed: Sequence[str]) -> str:
    """Return what probably was meant by a label that the scale does not have, and how another scale is named."""
    binary = set(allowed) == {PASS, FAIL}
    near = nearest(text.strip(), [*allowed, *(PASSES | FAILS if binary else ())])
    other = (
        "grades or classes are named all: --scale 1,2,3 of labels import, judge: {scale: [1, 2, 3]}" if binary else ""
    )
    return "; ".join(part for part in (f"{near!r}, if that was meant" if near else "", other) if part)


def _pass_fail(text: str) -> str | None:
    word = text.strip().lower()
    return PASS if word in PASSES else FAIL if word in FAILS else None


def _among(allowed: Sequence[str], text: str) -> str | None:
    """Return the verdict of a scale that `text` means; None when it means none."""
    if set(allowed) == {PASS, FAIL}:
        return _pass_fail(text)
    word = text.strip()
    if word in allowed:
        return word
    # A grade that a table holds as a number is written with a fraction.
    if word.endswith(".0") and word[:-2] in allowed:
        return word[:-2]
    near = [verdict for verdict in allowed if verdict.lower() == word.lower()]
    return near[0] if len(near) == 1 else None
