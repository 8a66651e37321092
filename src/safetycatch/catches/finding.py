"""What a safety catch says: an observation of the facts, and the finding once the user's settings are applied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from safetycatch.catches.catalogue import CATCHES
from safetycatch.errors import RefusedError, UsageError
from safetycatch.identity import canonical_json, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from safetycatch.experiment import CatchSettings

Seen = Literal["passed", "fired", "not_applicable", "not_checked"]
Status = Literal["passed", "fired", "overridden", "acknowledged", "not_applicable", "not_checked"]


@dataclass(frozen=True, slots=True)
class Observation:
    """What a catch saw, before anybody's settings.

    `level` only where a catch can both refuse and warn, `title` where it does so for another reason than its name.
    """

    code: str
    seen: Seen
    saw: str
    matters: str = ""
    fix: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    level: Literal["refuse", "warn"] | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of `findings.parquet`: the observation, the level in force, and what the user said about it."""

    code: str
    level: str
    status: Status
    title: str
    saw: str
    matters: str
    fix: str
    alternative: str
    reason: str | None
    evidence: Mapping[str, Any]

    @property
    def refuses(self) -> bool:
        """Whether the run must not go on."""
        return self.status == "fired" and self.level in {"refuse", "stop"}

    @property
    def pauses(self) -> bool:
        """Whether the run must wait for a person."""
        return self.status == "fired" and self.level == "pause"

    def text(self) -> str:
        """The finding as lines for a terminal: saw, matters, fix, or."""
        word = {"refuse": "refused", "stop": "stopped", "warn": "warning", "pause": "waits"}.get(self.level, self.level)
        head = f"{self.code} {word if self.status == 'fired' else self.status} · {self.title}"
        lines = (("saw", self.saw), ("matters", self.matters), ("fix", self.fix), ("or", self.alternative))
        if self.status in {"overridden", "acknowledged"}:
            lines = (("saw", self.saw), ("because", self.reason or ""))
        return "\n".join([head, *(f"  {label:<8} {_visible(text)}" for label, text in lines if text)])

    def row(self) -> dict[str, Any]:
        """The finding as a row of the `findings` table; undefined numbers of the evidence are null."""
        evidence = _plain(self.evidence)
        return {
            "code": self.code,
            "level": self.level,
            "status": self.status,
            "title": self.title,
            "saw": self.saw,
            "matters": self.matters,
            "fix": self.fix,
            "alternative": self.alternative,
            "reason": self.reason,
            "evidence": canonical_json(evidence).decode(),
            "fingerprint": fingerprint(self.code, evidence),
        }


def _visible(text: str) -> str:
    """Return text from data without line breaks, terminal sequences and bidirectional controls: escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _plain(value: Any) -> Any:
    """Return evidence as JSON: NaN, infinities and numpy's numbers must not break a run that is already paid."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True, slots=True)
class Policy:
    """The user's settings: levels and thresholds by code, the mode, and overrides with their reasons."""

    claiming: bool = True
    settings: Mapping[str, CatchSettings] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)

    def threshold(self, code: str, name: str) -> float:
        """Return a catch's threshold: the user's, else the catalogue's."""
        own = self.settings.get(code)
        if own is not None and name in own.thresholds:
            return own.thresholds[name]
        return CATCHES[code].thresholds[name]

    def finding(self, observation: Observation) -> Finding:
        """Return the finding that an observation becomes under these settings."""
        catch = CATCHES[observation.code]
        own = self.settings.get(observation.code)
        level = (own.level if own is not None else None) or observation.level or catch.level
        if level == "refuse" and not self.claiming and not catch.always and not (own and own.level):
            level = "warn"
        status: Status = observation.seen
        reason = self.overrides.get(observation.code)
        if level == "off":
            status = "not_checked" if status == "fired" else status
            reason = "switched off in the settings" if observation.seen == "fired" else None
        elif status == "fired" and reason is not None and catch.overridable:
            status = "overridden" if level == "refuse" else "acknowledged"
        else:
            reason = None
        can = status == "fired" and catch.overridable
        where = "shown on top of the report" if level == "refuse" else "acknowledges it"
        return Finding(
            code=observation.code,
            level=level,
            status=status,
            title=observation.title or catch.title,
            saw=observation.saw,
            matters=observation.matters,
            fix=observation.fix,
            alternative=f'--override {observation.code} --because "…"   ({where})' if can else "",
            reason=reason,
            evidence=observation.evidence,
        )


def judge(observations: Iterable[Observation], policy: Policy) -> tuple[Finding, ...]:
    """Return the findings of `observations`, one a code: of several, the gravest, later ones before earlier."""
    rank = {"fired": 3, "not_checked": 1, "passed": 2, "not_applicable": 0}
    kept: dict[str, tuple[tuple[int, bool], Finding]] = {}
    for observation in observations:
        finding = policy.finding(observation)
        gravity = (rank[observation.seen], observation.seen == "fired" and finding.level in {"refuse", "stop"})
        if observation.code not in kept or gravity >= kept[observation.code][0]:
            kept[observation.code] = gravity, finding
    return tuple(kept[code][1] for code in CATCHES if code in kept)


def refuse(findings: Iterable[Finding]) -> None:
    """Raise RefusedError when any finding refuses; its text is the findings' own."""
    refusing = [finding for finding in findings if finding.refuses]
    if refusing:
        raise RefusedError("\n\n".join(finding.text() for finding in refusing), refusing)


def findings_table(findings: Iterable[Finding]) -> pa.Table:
    """Return findings as a table of the `findings` contract."""
    import pyarrow as pa

    from safetycatch.tables import schema

    return pa.Table.from_pylist([finding.row() for finding in findings], schema=schema("findings"))


def findings_from_table(table: pa.Table) -> tuple[Finding, ...]:
    """Return the findings of a stored `findings` table."""
    import json

    rows = table.drop_columns(["fingerprint"]).to_pylist()
    return tuple(Finding(**{**row, "evidence": json.loads(row["evidence"])}) for row in rows)


def parse_overrides(codes: list[str], because: str | None) -> dict[str, str]:
    """Return `{code: reason}` from the command line's `--override` and `--because`.

    Raises: UsageError without a reason, for an unknown code, or for one that cannot be overridden.
    """
    from safetycatch.configuration import nearest

    if not codes:
        if because:
            raise UsageError("--because without --override", fix='--override SC501 --because "…"')
        return {}
    if not because or not because.strip():
        raise UsageError("--override without a reason", expected="why", fix=f'--override {codes[0]} --because "…"')
    for code in codes:
        if code not in CATCHES:
            close = nearest(code, CATCHES)
            raise UsageError(
                f"no catch is called {code!r}",
                expected="see: safetycatch rules",
                fix=f"did you mean {close}?" if close else "",
            )
        if not CATCHES[code].overridable:
            raise UsageError(f"{code} cannot be overridden: {CATCHES[code].why}")
    return dict.fromkeys(codes, because.strip())


def with_matters(finding: Finding, matters: str) -> Finding:
    """Return the finding with the number it changes, once that could be computed."""
    return replace(finding, matters=matters)
