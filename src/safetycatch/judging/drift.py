"""Whether a certified judge is still the judge that was certified: sentinels asked again, and fresh labels of people.

Sentinels are items frozen with the verdicts they had. Asked again at each release, they alarm when more flips than
`SENTINEL_FLIPS` are shown (one-sided exact 95 % bound), or when flips go one way (McNemar, p <= `SENTINEL_ALPHA`). An
unchanged judge that flips 5 of 100 verdicts at random alarms in 3 of 100 releases, one that flips 1 of 100 in fewer
than one of a million. A reply without a verdict is a flip; where nothing came, or too little, nothing was checked.

Fresh labels feed an e-process, which may be looked at after every label: a judge that is as good as certified ever
raises its alarm with a chance of at most `LABEL_ALPHA`, provided that each label enters once, with the first verdict
that the judge gave on it, one answer a question (`entering`). Asked anew at each check, it would get a new chance.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from safetycatch.errors import StatisticsError
from safetycatch.identity import keyed_fraction
from safetycatch.judging.probes import LEVEL, score_of
from safetycatch.judging.rates import exact_lower
from safetycatch.stats.discordance import coin_tails

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safetycatch.judge_settings import JudgeSettings

SENTINELS = 100
SENTINEL_FLIPS = 0.05
SENTINEL_ALPHA = 0.01
# Of the sentinels. With fewer answered, those that fail may be those that changed.
ENOUGH_ANSWERED = 0.9
LABEL_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class SentinelDrift:
    """Sentinels asked again: `up` score higher than when the judge was certified, `down` lower, of `n` answered.

    `changed` counts other verdicts and the `unread` replies, in which none can be read; `n_missing` got no reply.
    `checked`: enough were answered to say that it did not drift. `rate` is the share of changed verdicts with its exact
    one-sided 95 % lower bound; `p_value` is McNemar's. All NaN where nothing was answered, as `detail` says.
    """

    alarm: bool
    checked: bool
    detail: str
    n: int
    n_missing: int
    changed: int
    unread: int
    up: int
    down: int
    rate: float
    lower: float
    p_value: float

    def as_dict(self) -> dict[str, Any]:
        """Return its fields, as a certificate keeps them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LabelDrift:
    """Fresh labels against the certified lower bounds: `e_value` after the last label, `highest` after any.

    `alarm_at` is the number of labels after which the e-value first reached 1/alpha; None: never. `agreement` is the
    share of equal verdicts by what people said, `bounds` the certified ones.
    """

    alarm: bool
    detail: str
    n: int
    n_missing: int
    e_value: float
    highest: float
    alarm_at: int | None
    alpha: float
    agreement: Mapping[str, float] = field(default_factory=dict[str, float])
    bounds: Mapping[str, float] = field(default_factory=dict[str, float])

    def as_dict(self) -> dict[str, Any]:
        """Return its fields, as a certificate keeps them."""
        return asdict(self)


def choose_sentinels(
    items: Sequence[Mapping[str, Any]], verdicts: Sequence[str | None], *, n: int = SENTINELS, seed: int = 0
) -> list[dict[str, Any]]:
    """Return `n` items with their `verdict`, as many of each verdict as there are, to be kept with the certificate.

    Items are questions of `tasks.judge`, `verdicts` the certified judge's rulings on them; those without one are left
    out. Drawn by a hash of ids and `seed`. The rarer verdict is not drowned: a judge that starts to fail everything
    shows in the passes, one that starts to pass everything in the fails.
    """
    by_verdict: dict[str, list[dict[str, Any]]] = {}
    for at, (item, verdict) in enumerate(zip(items, verdicts, strict=True)):
        if verdict is not None:
            drawn = keyed_fraction(seed, str(item["example_id"]), str(item["candidate"]), str(at))
            by_verdict.setdefault(verdict, []).append({**item, "verdict": verdict, "drawn": drawn})
    for found in by_verdict.values():
        found.sort(key=lambda item: item["drawn"])
    chosen: list[dict[str, Any]] = []
    left = n
    for place, verdict in enumerate(sorted(by_verdict, key=lambda verdict: len(by_verdict[verdict]))):
        share = left // (len(by_verdict) - place)
        chosen += by_verdict[verdict][:share]
        left = n - len(chosen)
    return [{name: value for name, value in item.items() if name != "drawn"} for item in chosen]


def sentinel_drift(
    certified: Sequence[str],
    now: Sequence[str | None],
    settings: JudgeSettings,
    *,
    n_missing: int = 0,
    alpha: float = SENTINEL_ALPHA,
) -> SentinelDrift:
    """Return whether the judge still says of its sentinels what it said when it was certified.

    `certified` and `now` are rulings in the same order, None where no verdict can be read in the reply; `n_missing`
    more got no reply. Classes that pass alike, and None, count as changed, but lean nowhere. With 100 sentinels a judge
    that turns 15 of 100 verdicts one way is found 99 times in 100, one that turns 10 of 100 in 4 of 5.
    Raises: StatisticsError for columns of different lengths.
    """
    if len(certified) != len(now):
        raise StatisticsError(
            f"{len(certified)} certified verdicts and {len(now)} of now: the same sentinels, in order"
        )
    n = len(now)
    if not n:
        why = f"no sentinel was answered ({n_missing} asked)" if n_missing else "there are no sentinels"
        return SentinelDrift(False, False, why, 0, n_missing, 0, 0, 0, 0, math.nan, math.nan, math.nan)
    read = [(before, after) for before, after in zip(certified, now, strict=True) if after is not None]
    change = [score_of(after, settings) - score_of(before, settings) for before, after in read]
    up, down = sum(one > 0 for one in change), sum(one < 0 for one in change)
    unread = n - len(read)
    changed = sum(before != after for before, after in read) + unread
    lower, p_value = exact_lower(changed, n - changed, LEVEL), coin_tails(up, down)[0]
    return SentinelDrift(
        alarm=lower > SENTINEL_FLIPS or p_value <= alpha,
        checked=n >= ENOUGH_ANSWERED * (n + n_missing),
        detail=f"{changed} of {n} sentinels changed verdict, {up} upwards and {down} downwards (p = {p_value:.3g})"
        + (f", {unread} without a verdict that can be read" if unread else "")
        + (f"; {n_missing} more were not answered" if n_missing else ""),
        n=n,
        n_missing=n_missing,
        changed=changed,
        unread=unread,
        up=up,
        down=down,
        rate=changed / n,
        lower=lower,
        p_value=p_value,
    )


@dataclass(frozen=True, slots=True)
class FreshLabel:
    """What people said of an answer to `question` since a certificate, and when (`at`, ISO 8601), and the judge's word.

    `verdict` is None where the judge's reply holds none, and before it was asked.
    """

    question: str
    key: str
    at: str
    said: str
    verdict: str | None = None


def entering(entered: Sequence[FreshLabel], found: Sequence[FreshLabel]) -> list[FreshLabel]:
    """Return those of `found` that come after the `entered` ones, in the order labelled: of each question one answer.

    A question that entered never enters again, whatever is said of it later: answers to one question err together, and
    an e-process in which one error counts twice is none.
    """
    taken = {one.question for one in entered}
    first: dict[str, FreshLabel] = {}
    for one in sorted(found, key=lambda one: (one.at, one.key)):
        if one.question not in taken:
            first.setdefault(one.question, one)
    return list(first.values())


def label_drift(
    human: Sequence[str],
    judge: Sequence[str | None],
    bounds: Mapping[str, float],
    *,
    alpha: float = LABEL_ALPHA,
) -> LabelDrift:
    """Return whether fresh labels, in the order in which they were given, contradict the certified `bounds`.

    `bounds` hold the lower bound of agreement by what people said (pass: TPR, fail: TNR, of several classes each one's
    recall), or one for all under "". Each has an e-process of its own, and their mean is one too. A label without a
    verdict of the judge, or without a bound, is missing. Assumes labels of items drawn at random from what is judged
    now. Raises: StatisticsError for columns of different lengths, a bound outside (0, 1), an alpha outside (0, 1).
    """
    if len(human) != len(judge):
        raise StatisticsError(f"{len(human)} labels and {len(judge)} verdicts: the same items, in order")
    for name, bound in bounds.items():
        if not 0 < bound < 1:
            raise StatisticsError(f"a bound of {bound} for {name!r}: between 0 and 1")
    if not 0 < alpha < 1:
        raise StatisticsError(f"alpha is {alpha}: between 0 and 1")
    logs = dict.fromkeys(bounds, 0.0)
    counts = {name: [0, 0] for name in bounds}
    highest, alarm_at, n = 1.0, None, 0
    for label, verdict in zip(human, judge, strict=True):
        name = "" if "" in bounds else label
        if verdict is None or name not in bounds:
            continue
        n += 1
        counts[name][verdict == label] += 1
        logs[name] = log_e_value(counts[name][1], counts[name][0], bounds[name])
        e_value = _mean(logs)
        highest = max(highest, e_value)
        if alarm_at is None and e_value >= 1 / alpha:
            alarm_at = n
    shares = {name: right / (right + wrong) for name, (wrong, right) in counts.items() if right + wrong}
    return LabelDrift(
        alarm=alarm_at is not None,
        detail=_told(shares, bounds, counts, highest, alpha, alarm_at),
        n=n,
        n_missing=len(human) - n,
        e_value=_mean(logs) if bounds else math.nan,
        highest=highest,
        alarm_at=alarm_at,
        alpha=alpha,
        agreement=shares,
        bounds=dict(bounds),
    )


def log_e_value(agreed: int, differed: int, bound: float) -> float:
    """Return the logarithm of the e-value against "agreement >= bound" after so many agreements and differences.

    The bets are likelihood ratios of a worse agreement against the bound, mixed uniformly over all worse ones:
    B(a + 1, d + 1) I_bound(a + 1, d + 1) / (bound^(a+1) (1 - bound)^d). Its expectation is 1 at the bound, below 1
    above it, at any time at which one looks. Source: Robbins 1970, Ann. Math. Statist. 41; Ramdas et al. 2023,
    Statist. Sci. 38, section 4 (mixtures of test martingales).
    """
    from scipy.special import betainc, betaln

    inside = float(betainc(agreed + 1, differed + 1, bound))
    # Far above the bound the integral underflows; its e-value is then 0 to any precision that matters.
    log_inside = math.log(inside) if inside > 0 else -math.inf
    return (
        float(betaln(agreed + 1, differed + 1))
        + log_inside
        - (agreed + 1) * math.log(bound)
        - differed * math.log1p(-bound)
    )


def _mean(logs: Mapping[str, float]) -> float:
    values = list(logs.values())
    if not values:
        return 1.0
    most = max(values)
    if most == -math.inf:
        return 0.0
    # Beyond e^700 a number of this size cannot be told apart from one that alarms.
    return math.exp(min(700.0, most)) * sum(math.exp(value - most) for value in values) / len(values)


def _told(
    shares: Mapping[str, float],
    bounds: Mapping[str, float],
    counts: Mapping[str, Sequence[int]],
    highest: float,
    alpha: float,
    alarm_at: int | None,
) -> str:
    said = [
        f"{name or 'all'}: {counts[name][1]} of {sum(counts[name])} agree, certified at least {bounds[name]:.2f}"
        for name in shares
    ]
    if not said:
        return "no fresh label has a verdict to compare with"
    told = f"highest e-value {highest:.3g}, alarm at {1 / alpha:g}"
    return "; ".join([*said, told + (f", reached after {alarm_at} labels" if alarm_at is not None else "")])
