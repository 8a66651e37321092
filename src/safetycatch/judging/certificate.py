"""What was found of a judge, in one document: its sealed counts, its state with reasons, and until when it holds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from safetycatch.errors import DataError
from safetycatch.identity import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

State = Literal["certified", "provisional", "refused"]
CERTIFIED, PROVISIONAL, REFUSED = "certified", "provisional", "refused"


class Limits(NamedTuple):
    """The bars of SC102: one-sided 95 % lower bounds, and the labels that each class needs to be judged by."""

    tpr: float = 0.80
    tnr: float = 0.80
    j: float = 0.50
    provisional_j: float = 0.20
    per_class: int = 50


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate with its two-sided interval and its one-sided 95 % lower bound; None where it is undefined."""

    estimate: float | None
    low: float | None
    high: float | None
    lower: float | None
    n: int
    method: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """People against judge for one verdict against the rest; `n_missing` items got no verdict (they are in no cell).

    `effective` holds TP, FN, FP, TN as independent items drawn with equal probability would have given them;
    `design_effects` are the factors by which items of one question count less, of this verdict and of the rest.
    """

    positive: str
    tp: int
    fn: int
    fp: int
    tn: int
    n_missing: int = 0
    figures: dict[str, Figure] = field(default_factory=dict[str, Figure])
    effective: tuple[float, ...] = ()
    design_effects: tuple[float, ...] = ()

    @property
    def n(self) -> int:
        """Items with a verdict."""
        return self.tp + self.fn + self.fp + self.tn

    @property
    def n_positive(self) -> int:
        """Items that people gave this verdict."""
        return self.tp + self.fn

    @property
    def n_negative(self) -> int:
        """Items that people gave another verdict."""
        return self.fp + self.tn

    def lower(self, name: str) -> float:
        """Return a figure's one-sided 95 % lower bound; NaN where it is undefined."""
        found = self.figures[name].lower if name in self.figures else None
        return math.nan if found is None else found


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a certificate has its state, as `code` for machines and `text` for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A judge's certificate; everything in it is JSON.

    `judge` names models, parameters, rubric, parser; `judge_key` is their fingerprint (`asking.judge_key`). `sealed`
    holds the counts on the sealed test: one entry for pass/fail (positive: pass), one a class where there are several.
    `whole` holds the same over all labelled items, which describes and certifies nothing. `sizes` counts the items of
    few_shot, dev, sealed and left_out. `correction` says which estimator corrects its rates, and under which
    assumption. `valid_until` is None where it does not age.
    """

    experiment: str
    judge_key: str
    judge: dict[str, Any]
    scale: dict[str, Any]
    state: State
    reasons: tuple[Reason, ...]
    labels_needed: tuple[str, ...]
    sealed: tuple[Counts, ...]
    whole: tuple[Counts, ...]
    overall: dict[str, Figure]
    labels_hash: str
    labels: dict[str, Any]
    sizes: dict[str, int]
    sealed_keys: tuple[str, ...]
    people: dict[str, Any]
    slices: tuple[dict[str, Any], ...]
    probes: tuple[dict[str, Any], ...]
    looks: dict[str, int]
    correction: dict[str, Any]
    limits: dict[str, float]
    issued_at: datetime
    valid_until: datetime | None
    validity: str
    sentinels: dict[str, Any] = field(default_factory=dict[str, Any])
    drift: dict[str, Any] = field(default_factory=dict[str, Any])
    versions: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def certificate_id(self) -> str:
        """The SHA-256 (64 hex digits) of its content: another word anywhere is another certificate."""
        return fingerprint(self.as_json())

    @property
    def binary(self) -> Counts | None:
        """The counts of the pass/fail scale, or of the only class; None where there are several."""
        return self.sealed[0] if len(self.sealed) == 1 else None

    @property
    def usable(self) -> bool:
        """Whether a corrected rate may be shown for this judge."""
        return self.state in {CERTIFIED, PROVISIONAL}

    def same_findings(self, other: Certificate) -> bool:
        """Whether another certificate says the same, whenever it was issued: a replay measures nothing anew."""
        return self._findings() == other._findings()

    def _findings(self) -> dict[str, Any]:
        timed = {"issued_at", "valid_until", "validity", "drift"}
        return {name: value for name, value in self.as_json().items() if name not in timed}

    def expired(self, now: datetime) -> bool:
        """Whether it is past its time."""
        return self.valid_until is not None and now > self.valid_until

    def as_json(self) -> dict[str, Any]:
        """Return the certificate as a JSON object, undefined numbers as null."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Certificate:
        """Return the certificate that `as_json` described.

        Raises: DataError for missing or unknown keys.
        """
        try:
            read: dict[str, Any] = {
                "reasons": tuple(Reason(**one) for one in body["reasons"]),
                "labels_needed": tuple(body["labels_needed"]),
                "sealed": tuple(_counts(one) for one in body["sealed"]),
                "whole": tuple(_counts(one) for one in body["whole"]),
                "overall": {name: Figure(**one) for name, one in body["overall"].items()},
                "sealed_keys": tuple(body["sealed_keys"]),
                "slices": tuple(body["slices"]),
                "probes": tuple(body["probes"]),
                "issued_at": datetime.fromisoformat(body["issued_at"]),
                "valid_until": body["valid_until"] and datetime.fromisoformat(body["valid_until"]),
            }
            return cls(**{**body, **read})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise DataError(f"this is no certificate: {type(error).__name__} {str(error)[:100]}") from None


def _counts(body: dict[str, Any]) -> Counts:
    figures: Any = {name: Figure(**one) for name, one in body["figures"].items()}
    pairs: Any = {name: tuple(body.get(name, ())) for name in ("effective", "design_effects")}
    return Counts(**{**body, "figures": figures, **pairs})


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def decide_state(sealed: tuple[Counts, ...], limits: Limits = LIMITS) -> tuple[State, tuple[Reason, ...]]:
    """Return a judge's state by its sealed counts, and why.

    Certified: the lower bounds of TPR, TNR and J = TPR + TNR - 1 reach their bars with `per_class` labels on both
    sides; of several classes, one against the rest, for every class with that many labels. Provisional: J's lower
    bound is above its own bar, so that a corrected rate means something. No class may fail for another's sake, which
    needs no adjustment (an intersection-union test). Assumption: sealed items are drawn like those that are judged.
    """
    if not sealed or not any(one.n for one in sealed):
        return REFUSED, (Reason("no_sealed_labels", "no sealed label has a verdict"),)
    several = len(sealed) > 1
    judged = [one for one in sealed if min(one.n_positive, one.n_negative) >= limits.per_class]
    reasons: list[Reason] = []
    few = [one for one in sealed if one not in judged]
    if few and (not several or not judged):
        told = ", ".join(_few(one, several=several) for one in few)
        reasons.append(Reason("few_labels", f"{told}: {limits.per_class} of each are needed"))
    bars = (("tpr", "TPR", limits.tpr), ("tnr", "TNR", limits.tnr), ("j", "J = TPR + TNR - 1", limits.j))
    for one in judged or sealed:
        of = f" of {one.positive!r}" if several else ""
        for name, word, bar in bars:
            found = one.figures.get(name)
            lower = one.lower(name)
            if not lower >= bar:
                reasons.append(Reason(name, f"{word}{of} {_shown(found)}: its lower bound does not reach {bar:.2f}"))
    if not reasons:
        return CERTIFIED, (Reason("reached", "every lower 95 % bound reaches its bar"),)
    weakest = min(judged or sealed, key=lambda one: _or_nothing(one.lower("j")))
    if _or_nothing(weakest.lower("j")) > limits.provisional_j:
        reasons.append(
            Reason(
                "corrected_only",
                f"J's lower bound {weakest.lower('j'):.2f} is above {limits.provisional_j:.2f}: "
                "corrected rates mean something, raw ones are not shown alone",
            )
        )
        return PROVISIONAL, tuple(reasons)
    reasons.append(
        Reason(
            "barely_informative",
            f"J's lower bound {_number(weakest.lower('j'))} is not above "
            f"{limits.provisional_j:.2f}: its verdicts say too little of the truth",
        )
    )
    return REFUSED, tuple(reasons)


def _few(one: Counts, *, several: bool) -> str:
    if several:
        return f"{one.n_positive} sealed labels {one.positive!r}"
    return f"{one.n_positive} sealed labels {one.positive!r} and {one.n_negative} others"


def _shown(found: Figure | None) -> str:
    if found is None or found.estimate is None or found.lower is None:
        return "is undefined"
    return f"{found.estimate:.3f} (n = {found.n}, lower bound {found.lower:.3f})"


def _number(value: float) -> str:
    return "(undefined)" if math.isnan(value) else f"{value:.2f}"


def _or_nothing(value: float) -> float:
    return -1.0 if math.isnan(value) else value


def validity_of(
    *, floating: tuple[str, ...], recorded: bool, issued_at: datetime, days: float
) -> tuple[datetime | None, str]:
    """Return until when a certificate holds (None: it does not age) and why; `floating` are names that may move."""
    if recorded:
        return None, "recorded verdicts do not change"
    if not floating:
        return None, "the model is a pinned snapshot: it holds while its sentinels hold"
    until = issued_at + timedelta(days=days)
    return until, f"{', '.join(floating)} may come to mean another model: {days:g} days, then calibrate again"


def lowered(state: State, reasons: tuple[Reason, ...], more: tuple[Reason, ...]) -> tuple[State, tuple[Reason, ...]]:
    """Return state and reasons once `more` forbids to certify (sealed items seen in tuning, looks used up)."""
    if not more:
        return state, reasons
    kept = tuple(reason for reason in reasons if reason.code != "reached")
    return REFUSED, (*more, *kept)


def obeys(probe: Mapping[str, Any], sealed: Sequence[Counts], limit: float) -> bool:
    """Return whether a judge is shown to do what the text it grades says, by its injection probe.

    Shown: the lower bound of the bad answers that rise is above `limit`, and above the share of bad answers that the
    sealed test cannot exclude it passes anyway: a judge that errs on whatever it reads obeys nobody. One-sided 95 %.
    """
    lower = probe.get("lower")
    anyway = max((1 - _or_nothing(one.lower("tnr")) for one in sealed if one.n_negative), default=0.0)
    return lower is not None and lower > max(limit, anyway)


def drifted(found: Certificate, drift: dict[str, Any]) -> Certificate:
    """Return the certificate with what its sentinels and fresh labels showed since."""
    return replace(found, drift=drift)
