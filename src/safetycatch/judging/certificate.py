"""What was found of a judge, in one document: its sealed counts, its state with reasons, and until when it holds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from safetycatch.errors import DataError
from safetycatch.identity import fingerprint
from safetycatch.judge_settings import FAIL, PASS

if TYPE_CHECKING:
    from collections.abc import Sequence

State = Literal["certified", "provisional", "refused"]
CERTIFIED, PROVISIONAL, REFUSED = "certified", "provisional", "refused"
RATE = "wilson"  # how `agreement` names a rate's method


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
    bound is above its own bar, so that a corrected rate means something; where no class has enough labels, that of one
    class, while no other's J is estimated to be below. No class may fail for another's sake, which
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
    counted = judged or list(sealed)
    for one in counted:
        for name, word, bar in bars:
            reason = _below(one.figures.get(name), f"{word}{_of(one, several=several)}", bar)
            if reason and not one.lower(name) >= bar:
                reasons.append(Reason(name, reason))
    if not reasons:
        return CERTIFIED, (Reason("reached", "every lower 95 % bound reaches its bar"),)
    known = [one for one in counted if not math.isnan(one.lower("j"))]
    uninformative = [one for one in known if (one.figures["j"].estimate or 0.0) <= limits.provisional_j]
    # A class that has too few labels, or none, says nothing against one that has them.
    standing = (min if judged else max)(known, key=_j, default=None)
    if len(known) < len(judged):
        standing = None
    if standing is not None and _j(standing) > limits.provisional_j and not uninformative:
        told = f"J's lower bound {_j(standing):.2f} is above {limits.provisional_j:.2f}: corrected rates mean something"
        reasons.append(Reason("corrected_only", f"{told}, raw ones are not shown alone"))
        return PROVISIONAL, tuple(reasons)
    return REFUSED, _refused(reasons, uninformative, standing, limits, several=several)


def _refused(
    reasons: list[Reason],
    uninformative: Sequence[Counts],
    standing: Counts | None,
    limits: Limits,
    *,
    several: bool,
) -> tuple[Reason, ...]:
    """Return the reasons of a judge that is refused, with the one that refused it."""
    for one in uninformative:
        found = one.figures["j"]
        if found.high is not None and found.high < 0:
            told = f"J{_of(one, several=several)} {found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"
            text = f"it says the opposite of people: {told}; its rubric, or how labels are read, is the wrong way round"
            return (Reason("inverted", text), *reasons)
    if uninformative:
        one = min(uninformative, key=_j)
        told = f"J{_of(one, several=several)} is {one.figures['j'].estimate:.2f}, its lower bound {_j(one):.2f}"
        text = f"{told}, to be above {limits.provisional_j:.2f}: its verdicts say too little of the truth"
        return (*reasons, Reason("barely_informative", text))
    if standing is None:
        return (*reasons, Reason("too_few", "too few labels to say how far it can be trusted"))
    told = f"J{_of(standing, several=several)} is {standing.figures['j'].estimate:.2f}, its lower bound"
    text = f"{told} {_j(standing):.2f} not above {limits.provisional_j:.2f}: too few labels to say"
    return (*reasons, Reason("too_few", text))


def _j(one: Counts) -> float:
    return one.lower("j")


def _of(one: Counts, *, several: bool) -> str:
    return f" of {one.positive!r}" if several else ""


def _few(one: Counts, *, several: bool) -> str:
    if several:
        return f"{one.n_positive} sealed labels {one.positive!r}"
    rest = FAIL if one.positive == PASS else f"not {one.positive}"
    return f"{one.n_positive} sealed labels {one.positive!r} and {one.n_negative} {rest!r}"


def _below(found: Figure | None, name: str, bar: float) -> str:
    """Return why a figure does not reach its bar; empty where labels are missing, which is said once."""
    if found is None or not found.n or (found.estimate is None and found.method != RATE):
        return ""
    if found.estimate is None or found.lower is None:
        return f"{name} is unknown: its {found.n} sealed labels answer fewer than 5 questions"
    told = f"{name} {found.estimate:.3f} (n = {found.n}, lower bound {found.lower:.3f})"
    return f"{told}: its lower bound does not reach {bar:.2f}"


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


def drifted(found: Certificate, drift: dict[str, Any]) -> Certificate:
    """Return the certificate with what its sentinels and fresh labels showed since."""
    return replace(found, drift=drift)
