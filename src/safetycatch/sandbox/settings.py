"""What a sandbox server is told at its start."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING

from safetycatch.errors import UsageError
from safetycatch.sandbox.faults import Fault, fraction, parse_fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Part of the identity of the embedded server: raise it when its models would answer differently than before.
ANSWERS_VERSION = "3"
KEY_VARIABLE = "SAFETYCATCH_SANDBOX_KEY"
LONGEST_LATENCY_S = 600.0
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")


@dataclass(frozen=True)
class Latency:
    """Seconds between a request and its answer: fixed, or log-normal with this median and `sigma` (of the logarithm).

    Raises: UsageError for negative or endless times.
    """

    median_s: float = 0.0
    sigma: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.median_s <= LONGEST_LATENCY_S and 0 <= self.sigma <= 5):
            raise UsageError(
                f"{self.median_s} s, sigma {self.sigma}", where="latency", expected="0 to 600 s and a sigma of 0 to 5"
            )

    def seconds(self, content: bytes) -> float:
        """Return the time for one request, the same for the same content."""
        if not self.sigma or not self.median_s:
            return self.median_s
        # Half a step in from both ends: the normal quantile of 0 is endless.
        share = min(max(fraction(content, self.seed), 2.0**-53), 1 - 2.0**-53)
        return min(LONGEST_LATENCY_S, self.median_s * math.exp(self.sigma * NormalDist().inv_cdf(share)))


def parse_latency(text: str) -> Latency:
    """Return the latency written as `50ms`, `1.5s` or `lognormal:200ms:0.5[:SEED]`.

    Raises: UsageError for another form.
    """
    head, *rest = text.strip().split(":")
    try:
        if head == "lognormal" and len(rest) in {2, 3}:
            return Latency(_seconds(rest[0]), float(rest[1]), int(rest[2]) if len(rest) == 3 else 0)
        if not rest:
            return Latency(_seconds(head))
    except ValueError:
        pass
    raise UsageError(f"{text!r}", where="latency", expected="50ms, 1.5s or lognormal:200ms:0.5", fix="--latency 50ms")


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError(text)
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


@dataclass(frozen=True, kw_only=True)
class SandboxSettings:
    """Settings of one sandbox server; the host is always 127.0.0.1.

    `port` 0 takes a free one. `tokens_per_minute` counts a prompt and its `max_tokens`. `burst_s`: how many seconds of
    a limit may be used at once. `train`: rows with `input` and `target` for `small` and `large`. `replay`: recorded
    answers with `candidate`, `example_id`, `output`. `key`: asked of every client. `aliases`: further names of models.
    Raises: UsageError for a value out of range.
    """

    port: int = 0
    latency: Latency = Latency()
    faults: tuple[Fault, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    burst_s: float = 1.0
    train: Path | None = None
    replay: Path | None = None
    key: str | None = field(default=None, repr=False)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, right, expected in (
            ("port", 0 <= self.port <= 65_535, "0 to 65535"),
            ("requests_per_minute", _is_limit(self.requests_per_minute), "1 or more"),
            ("tokens_per_minute", _is_limit(self.tokens_per_minute), "1 or more"),
            ("burst_s", 0 < self.burst_s <= 3_600, "more than 0, at most 3600 seconds"),
            ("key", self.key is None or bool(self.key.strip()), "a key that is not empty"),
        ):
            if not right:
                found = "empty" if name == "key" else f"{getattr(self, name)!r}"
                raise UsageError(found, where=f"sandbox: {name}", expected=expected)

    @classmethod
    def from_options(
        cls,
        *,
        port: int = 0,
        latency: str = "0ms",
        faults: Sequence[str] = (),
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        burst_s: float = 1.0,
        train: Path | None = None,
        replay: Path | None = None,
        require_key: bool = False,
        aliases: Sequence[str] = (),
    ) -> SandboxSettings:
        """Return the settings that command line options spell; `require_key` reads SAFETYCATCH_SANDBOX_KEY.

        An alias is written NAME=MODEL.

        Raises: UsageError naming the option that is wrong.
        """
        key = os.environ.get(KEY_VARIABLE, "") if require_key else None
        if key is not None and not key.strip():
            raise UsageError(
                f"{KEY_VARIABLE} is not set", where="--require-key", fix=f"export {KEY_VARIABLE}=any-text-you-choose"
            )
        return cls(
            port=port,
            latency=parse_latency(latency),
            faults=tuple(parse_fault(text) for text in faults),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            burst_s=burst_s,
            train=train,
            replay=replay,
            key=key,
            aliases=dict(_alias(text) for text in aliases),
        )


def _alias(text: str) -> tuple[str, str]:
    name, equals, model = text.partition("=")
    if not name or not equals or not model:
        raise UsageError(f"{text!r}", where="alias", expected="NAME=MODEL", fix="--alias claude-sonnet-4-5=in-context")
    return name, model


def _is_limit(number: int | None) -> bool:
    return number is None or number >= 1
