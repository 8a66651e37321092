"""What a provider's headers say of its limits: how many a minute, how many are left, when to come back.

Read are the spellings of OpenAI (Azure writes the same, at times without limits, at times without resets) and of
Anthropic. Times are in seconds.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

METERS = 4
MAX_PAUSE_S = 120.0
# Azure may state what is left and no reset: its windows are of ten seconds at most.
UNSTATED_RESET_S = 10.0
# Numbers above this are moments (Unix time), not waits.
EPOCH_S, EPOCH_MS = 1e9, 1e12
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


class Stated(NamedTuple):
    """One limit: units a minute; else units left, and the seconds until they are back. None: not said."""

    per_minute: float | None = None
    left: float | None = None
    reset_s: float | None = None


class Limits(NamedTuple):
    """What one reply states `of` requests, tokens, tokens in and tokens out, in this order.

    `refunds`: at the end of a completion what it did not use of its `max_tokens` is given back; cached tokens are free.
    """

    of: tuple[Stated, ...]
    refunds: bool


class _Family(NamedTuple):
    """How one kind of provider writes (limit, remaining, reset) of each limit it knows."""

    names: tuple[tuple[str, str, str], ...]
    refunds: bool


# OpenAI and Azure charge the max_tokens asked for and cached tokens; Anthropic corrects to what was used.
_FAMILIES = (
    _Family(
        tuple(
            (f"x-ratelimit-limit-{what}", f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}")
            for what in ("requests", "tokens")
        ),
        refunds=False,
    ),
    _Family(
        tuple(
            (
                f"anthropic-ratelimit-{what}-limit",
                f"anthropic-ratelimit-{what}-remaining",
                f"anthropic-ratelimit-{what}-reset",
            )
            for what in ("requests", "tokens", "input-tokens", "output-tokens")
        ),
        refunds=True,
    ),
)
_NOTHING = Stated()


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def duration_s(text: str, now: dt.datetime) -> float | None:
    """Return the seconds from `now` that `1.5`, `6m0s`, `120ms` or a Unix, RFC 3339 or HTTP time mean, if they do."""
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if not math.isfinite(seconds):
            return None
        if seconds > EPOCH_S:
            seconds = seconds / (1_000 if seconds > EPOCH_MS else 1) - now.timestamp()
        return max(0.0, seconds)
    match = _DURATION.fullmatch(text)
    if match and any(match.groups()):
        days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
        return days * 86_400 + hours * 3_600 + minutes * 60 + seconds + milliseconds / 1_000
    for parse in (dt.datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
        except ValueError:
            continue
        aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return max(0.0, (aware - now).total_seconds())
    return None


def retry_after_s(headers: Mapping[str, str], now: dt.datetime | None = None) -> float | None:
    """Return how long a refusal's headers ask to wait, at most `MAX_PAUSE_S`; None when they do not say."""
    now = now or dt.datetime.now(dt.UTC)
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None and milliseconds > 0:
        return min(milliseconds / 1_000, MAX_PAUSE_S)
    stated = headers.get("retry-after")
    wait = duration_s(stated, now) if stated else None
    if wait is None:
        # Only the limit that is used up says when to come back.
        waits: list[float] = []
        for family in _FAMILIES:
            for _, remaining, reset in family.names:
                left = _number(headers.get(remaining))
                until = duration_s(headers[reset], now) if left is not None and left <= 0 and reset in headers else None
                waits += [] if until is None else [until]
        wait = max(waits, default=None)
    return None if wait is None else min(wait, MAX_PAUSE_S)


def read_limits(headers: Mapping[str, str], now: dt.datetime | None = None) -> Limits | None:
    """Return the limits that a reply's headers state; None when they state none."""
    # Most servers state none, and this is read for every reply.
    if not any("ratelimit" in name.lower() for name in headers):
        return None
    for family in _FAMILIES:
        found = [_stated(headers, *names, now) for names in family.names]
        if any(stated is not _NOTHING for stated in found):
            return Limits((*found, *[_NOTHING] * (METERS - len(found))), family.refunds)
    return None


def _stated(headers: Mapping[str, str], limit: str, remaining: str, reset: str, now: dt.datetime | None) -> Stated:
    per_minute = _number(headers.get(limit))
    if per_minute is not None and per_minute > 0:
        return Stated(per_minute)
    left = _number(headers.get(remaining))
    if left is None:
        return _NOTHING
    until = headers.get(reset)
    reset_s = UNSTATED_RESET_S if until is None else duration_s(until, now or dt.datetime.now(dt.UTC))
    return _NOTHING if reset_s is None else Stated(None, max(0.0, left), reset_s)
