"""Scripted faults: which request fails, how, and for how many attempts, decided by content and never by chance.

A fault strikes a request when all of its conditions hold. `share` draws from the request's bytes, the seed and the
number of the attempt, so a repeated run fails at the same requests and a retry draws anew.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT_REQUESTS = 200_000

# The provider answers with an error status and bills nothing.
STATUS_FAULTS = {
    "400": (400, "invalid_request_error", "context_length_exceeded", "This prompt is longer than the model's context."),
    "prompt_filter": (
        *(400, "invalid_request_error", "content_filter"),
        "The prompt triggered the content management policy.",
    ),
    "401": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "403": (403, "permission_error", "permission_denied", "This key may not use this model."),
    "404": (404, "invalid_request_error", "model_not_found", "The model does not exist."),
    "429": (429, "requests", "rate_limit_exceeded", "Rate limit reached."),
    "insufficient_quota": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    "500": (500, "server_error", "internal_error", "The server had an error."),
    "503": (503, "server_error", "overloaded", "The engine is overloaded."),
    "529": (529, "server_error", "overloaded", "The engine is overloaded."),
}
# The model has worked and the call is billed, but what arrives is not what was asked for.
BROKEN_FAULTS = {
    "drop": "the connection closes before the first byte",
    "cut": "the connection closes halfway through the body",
    "truncated": "a whole response holds half of the JSON",
    "empty": "the body is empty",
    "bad_utf8": "the body is not UTF-8",
    "content_type": "an HTML page with status 200",
    "wrong_model": "another model's name in the answer",
    "no_usage": "no usage in the answer",
    "content_filter": "finish_reason content_filter, no text",
    "refusal": "a refusal instead of content",
    "length": "finish_reason length, half of the text",
    "off_schema": "JSON that breaks the schema asked for; no JSON where any object was",
    "few_vectors": "one embedding fewer than texts",
    "nan_vector": "NaN in an embedding",
    "other_dimension": "embeddings one number longer than before",
    "504": "a gateway's page with status 504 instead of the answer",
    "trickle": "a byte every `seconds` (0.05)",
    "oversized": "`size` bytes (32 MiB) of content",
}
UNBILLED_FAULTS = {"hang": "no answer for `seconds` (3,600), then the connection closes"}
KINDS = (*STATUS_FAULTS, *BROKEN_FAULTS, *UNBILLED_FAULTS)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One rule of a fault script.

    `share`: of attempts, 0 to 1, drawn with `seed`. `nth`: only these requests, counted from 1 over the server's life.
    `attempts`: only the first so many attempts of one request. `times`: at most so many strikes in all. `model`: only
    this model. `seconds`: length of a hang, pace of a trickle, `retry-after` of an error status. `size`: bytes of an
    oversized answer. Raises: UsageError for an unknown kind or a number out of range.
    """

    kind: str
    share: float = 1.0
    seed: int = 0
    nth: tuple[int, ...] = ()
    attempts: int | None = None
    times: int | None = None
    model: str | None = None
    seconds: float | None = None
    size: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown fault {self.kind!r}", where="fault", expected=", ".join(KINDS))
        for name, right, expected in (
            ("share", 0 <= self.share <= 1, "a number from 0 to 1"),
            ("nth", all(n >= 1 for n in self.nth), "request numbers from 1"),
            ("attempts", self.attempts is None or self.attempts >= 1, "1 or more"),
            ("times", self.times is None or self.times >= 1, "1 or more"),
            ("seconds", self.seconds is None or 0 <= self.seconds <= 86_400, "0 to 86400"),
            ("size", 1 <= self.size <= 2**30, "1 to 2**30 bytes"),
        ):
            if not right:
                raise UsageError(f"{name}={getattr(self, name)!r}", where=f"fault {self.kind}", expected=expected)


def parse_fault(text: str) -> Fault:
    """Return the fault written as `KIND[:SHARE][:KEY=VALUE,…]`, e.g. `500:0.05`, `hang:nth=3+9,seconds=2`.

    Raises: UsageError naming the part that is wrong.
    """
    kind, *rest = text.split(":")
    values: dict[str, Any] = {}
    try:
        for part in (part for piece in rest for part in piece.split(",") if part):
            key, equals, value = part.partition("=")
            values |= {key.strip(): _value(key.strip(), value)} if equals else {"share": float(key)}
        return Fault(kind=kind.strip(), **values)
    except (KeyError, ValueError):
        raise UsageError(
            f"{text!r}",
            where="fault",
            expected="KIND[:SHARE][:KEY=VALUE,...] with keys " + ", ".join(f.name for f in fields(Fault)[1:]),
            fix="--fault 500:0.05",
        ) from None


def _value(key: str, text: str) -> Any:
    if key == "nth":
        return tuple(int(number) for number in text.split("+"))
    kinds = {"share": float, "seconds": float, "seed": int, "attempts": int, "times": int, "size": int, "model": str}
    return kinds[key](text)


class FaultScript:
    """Applies rules in order, the first that strikes wins; counts strikes by kind and attempts by request."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        self.strikes: Counter[str] = Counter()
        self._times = [0] * len(self.faults)
        self._attempts: OrderedDict[bytes, int] = OrderedDict()

    def strike(self, content: bytes, ordinal: int, model: str) -> Fault | None:
        """Return the fault for this attempt; `content` is the request's digest, `ordinal` its number from 1."""
        if not self.faults:
            return None
        attempt = self._attempts[content] = self._attempts.pop(content, 0) + 1
        if len(self._attempts) > KEPT_REQUESTS:
            self._attempts.popitem(last=False)
        for index, fault in enumerate(self.faults):
            if (
                (fault.nth and ordinal not in fault.nth)
                or (fault.model and fault.model != model)
                or (fault.attempts and attempt > fault.attempts)
                or (fault.times and self._times[index] >= fault.times)
                or (fault.share < 1 and fraction(content, fault.seed, index, attempt) >= fault.share)
            ):
                continue
            self._times[index] += 1
            self.strikes[fault.kind] += 1
            return fault
        return None


def fraction(content: bytes, *numbers: int) -> float:
    """Return a number in [0, 1) that depends on a request's digest and `numbers` only."""
    digest = blake2b(content + repr(numbers).encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53
