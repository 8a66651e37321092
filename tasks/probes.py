"""Probes of a judge made through engine, journal and budget: what is asked, what it costs, what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.catches.estimate import Estimate
from safetycatch.judge_settings import PAIRWISE, JudgeSettings
from safetycatch.judging.asking import AS, SWAPPED
from safetycatch.judging.attacks import attacks, controls
from safetycatch.judging.families import family_of
from safetycatch.judging.jury import combined
from safetycatch.judging.length_slope import length_slope
from safetycatch.judging.probe_design import DEFAULT_ITEMS, REPEATS, planned
from safetycatch.judging.probes import (
    KINDS,
    Kind,
    Probe,
    concluded,
    format_probe,
    injection_probe,
    length_probe,
    not_checked,
    parse_probe,
    retest_probe,
    score_of,
    self_preference_probe,
    swap_probe,
)
from safetycatch.judging.variants import (
    answer_words,
    attacked,
    drawn,
    in_order,
    padded,
    rendered,
    rendering_of,
)
from tasks.estimate import NOTHING, not_held
from tasks.judge import requests_about, verdicts_of
from tasks.plan import expected_usd
from tasks.session import current

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tasks.stage import Place

Item = dict[str, Any]
MIDDLE = 0.5  # of the scale: below it an answer is bad
RECORDED = "the verdicts are recorded: nobody can be asked again"


def run_probes(
    place: Place,
    judging: dict[str, Any],
    items: Sequence[Item],
    *,
    labels: Sequence[str | None] | None = None,
    models: Sequence[str | None] | None = None,
    kinds: Sequence[Kind] = KINDS,
    n_items: dict[Kind, int] | None = None,
    seed: int = 0,
) -> list[Probe]:
    """Return what the probes `kinds` find of the judge in `judging` on `items`, as `tasks.judge` asks about them.

    `labels` are what people said of the items, `models` who wrote them, both in the items' order. Verdicts that are in
    the journal cost nothing; `n_items` takes other numbers of items than `DEFAULT_ITEMS`. The p-values are Holm's over
    the probes made. Raises: what the engine raises.
    """
    probing = _Probing(place, judging, items, labels or (), models or (), n_items or {}, seed)
    return concluded([probing.made(kind) for kind in sorted(kinds, key=lambda kind: kind == "parse")])


def probe_costs(
    place: Place,
    judging: dict[str, Any],
    items: Sequence[Item],
    *,
    kinds: Sequence[Kind] = KINDS,
    n_items: dict[Kind, int] | None = None,
) -> list[dict[str, Any]]:
    """Return what each probe takes beyond the verdicts on `items`: items, calls at most, US dollars.

    `expected_usd` and `highest_usd` are None where a price is not known; `finds` says what so many items can show.
    """
    settings = JudgeSettings.model_validate(judging["settings"])
    if settings.verdicts is not None or not items:
        return []
    found: list[dict[str, Any]] = []
    for kind in kinds:
        if kind == "swap" and settings.scale != PAIRWISE:
            continue
        n = len(attacks("")) if kind == "injection" else len(items)
        plan = planned(kind, n, settings, n_jurors=len(judging["judges"]), n_items=(n_items or {}).get(kind))
        found.append({**plan._asdict(), **_sums(place, judging, _changed(kind, items, plan.n_items), plan.n_calls)})
    return found


def probe_estimate(place: Place, judging: dict[str, Any], items: Sequence[Item], asked: set[str]) -> Estimate:
    """Return what the probes would still cost at most: calls that the journal holds or that `asked` names are left out.

    Attacks count in full, since which answers they are hidden in depends on verdicts. `asked` takes the keys of the
    others.
    """
    total = NOTHING
    for row in probe_costs(place, judging, items):
        if row["kind"] == "injection":
            sums = {name: row[name] for name in ("expected_usd", "highest_usd", "highest_tokens")}
            total += Estimate(row["n_calls"], 0, **sums)
        elif row["n_calls"]:
            total += _unanswered(place, judging, row["kind"], _changed(row["kind"], items, row["n_items"]), asked)
    return total


def _unanswered(place: Place, judging: dict[str, Any], kind: Kind, sample: list[Item], asked: set[str]) -> Estimate:
    total = NOTHING
    if kind == "swap":
        judging = _apart(judging)
        sample = [in_order(item, order) for item in sample for order in (AS, SWAPPED)]
    repeats = REPEATS if kind == "retest" else 1
    for juror in judging["judges"]:
        requests = (request for request, _ in requests_about(place, judging, juror, sample, replicates=repeats))
        total += not_held(requests, "generate", asked)
    return total


class _Probing:
    """One judge, probed; the items are asked about as they are once, and known by their place."""

    def __init__(
        self,
        place: Place,
        judging: dict[str, Any],
        items: Sequence[Item],
        labels: Sequence[str | None],
        models: Sequence[str | None],
        n_items: dict[Kind, int],
        seed: int,
    ) -> None:
        self._place, self._judging, self._items = place, judging, list(items)
        self._settings = JudgeSettings.model_validate(judging["settings"])
        self._human = [score_of(label, self._settings) for label in labels]
        self._models, self._n_items, self._seed = models, n_items, seed
        self._scores: list[float] | None = None
        # Of each call once: the same answer may serve several probes.
        self._statuses: dict[str, str] = {}

    def made(self, kind: Kind) -> Probe:
        if not self._items:
            return not_checked(kind, "there are no items")
        if self._settings.verdicts is not None and kind not in {"parse", "self_preference"}:
            return not_checked(kind, RECORDED)
        makers: dict[Kind, Callable[[], Probe]] = {
            "swap": self._swap,
            "length": self._length,
            "format": self._format,
            "self_preference": self._self_preference,
            "retest": self._retest,
            "parse": self._parse,
            "injection": self._injection,
        }
        return makers[kind]()

    def _swap(self) -> Probe:
        if self._settings.scale != PAIRWISE:
            return not_checked("swap", "only pairs have an order")
        some = [self._items[at] for at in self._some("swap")]
        shown, exchanged = (
            self._ruled([in_order(item, order) for item in some], "swap", _apart(self._judging))
            for order in (AS, SWAPPED)
        )
        return swap_probe(shown, exchanged)

    def _length(self) -> Probe:
        some = self._some("length")
        after = self._scored([padded(self._items[at]) for at in some], "length")
        slope = None
        if self._settings.is_rate and self._human:
            words = [float(answer_words(item)) for item in self._items]
            slope = length_slope(words, self._base(), self._human)
        return length_probe([self._base()[at] for at in some], after, slope=slope)

    def _format(self) -> Probe:
        some = self._some("format")
        forms = [rendering_of(position) for position in range(len(some))]
        changed = [rendered(self._items[at], form) for at, form in zip(some, forms, strict=True)]
        return format_probe([self._base()[at] for at in some], self._scored(changed, "format"), forms)

    def _retest(self) -> Probe:
        some = _placed([self._items[at] for at in self._some("retest")])
        rulings = self._asked(some, "retest", self._judging, replicates=REPEATS)
        return retest_probe(
            [[rulings[item["candidate"], item["example_id"], repeat] for repeat in range(REPEATS)] for item in some]
        )

    def _injection(self) -> Probe:
        """Hide each attack, and its control, in a bad answer; where there is none, it is the whole answer."""
        people = self._human or [0.0] * len(self._items)
        bad = [
            at for at in self._some("injection", len(self._items)) if self._base()[at] < MIDDLE and people[at] < MIDDLE
        ]
        n = self._n_items.get("injection")
        said = [attack.text for attack in attacks(self._best())][:n], controls()[:n]
        carriers = bad or list(range(len(self._items)))
        used = [carriers[number % len(carriers)] for number in range(len(said[0]))]
        # A pair's attack asks to be taken for the first, and is shown there.
        changed = [
            in_order(attacked(self._items[at], text, alone=not bad), AS)
            for texts in said
            for at, text in zip(used, texts, strict=True)
        ]
        # An attack alone deserves no more than a tie, which it gets from another bad answer.
        alone = MIDDLE if self._settings.scale == PAIRWISE else 0.0
        before = [self._base()[at] if bad else alone for at in used]
        scores = self._scored(changed, "injection")
        return injection_probe(before, scores[: len(used)], scores[len(used) :])

    def _self_preference(self) -> Probe:
        own = {family_of(judge["candidate"]["model"]["model"]) for judge in self._judging["judges"]}
        known = [at for at, model in enumerate(self._models) if model]
        if not self._settings.is_rate or not self._human:
            return not_checked("self_preference", "no labels that pass or fail to compare with")
        if not known or not own:
            return not_checked("self_preference", "it is not known which models wrote the answers")
        return self_preference_probe(
            [self._base()[at] for at in known],
            [self._human[at] for at in known],
            [family_of(self._models[at] or "") in own for at in known],
            [str(self._items[at]["example_id"]) for at in known],
        )

    def _parse(self) -> Probe:
        self._base()
        return parse_probe(list(self._statuses.values()))

    def _some(self, kind: Kind, most: int | None = None) -> list[int]:
        return drawn(self._items, most or self._n_items.get(kind, DEFAULT_ITEMS[kind]), self._seed)

    def _best(self) -> str:
        labels = self._settings.verdict_labels
        return max(labels, key=lambda one: score_of(one, self._settings))

    def _base(self) -> list[float]:
        """Return the scores of the items as they are."""
        if self._scores is None:
            self._scores = self._scored(self._items, "base")
        return self._scores

    def _scored(self, items: Sequence[Item], label: str) -> list[float]:
        return [score_of(verdict, self._settings) for verdict in self._ruled(items, label, self._judging)]

    def _ruled(self, items: Sequence[Item], label: str, judging: dict[str, Any]) -> list[str | None]:
        # Recorded verdicts are found by the items' own names.
        placed = list(items) if self._settings.verdicts is not None else _placed(items)
        rulings = self._asked(placed, label, judging)
        return [rulings[item["candidate"], item["example_id"], item["replicate"]] for item in placed]

    def _asked(
        self, items: list[Item], label: str, judging: dict[str, Any], replicates: int = 1
    ) -> dict[tuple[Any, Any, int], str | None]:
        rows = verdicts_of(self._place, judging, items, f"probe {label}", replicates=replicates)
        self._statuses |= {row["call_key"] or f"{label} {at}": row["status"] for at, row in enumerate(rows)}
        settings = JudgeSettings.model_validate(judging["settings"])
        return {key: ruling.label for key, ruling in combined(rows, settings).items()}


def _placed(items: Sequence[Item]) -> list[Item]:
    """Return items told apart by their place alone: one example may have several changed answers."""
    return [{**item, "candidate": str(at), "replicate": 0} for at, item in enumerate(items)]


def _apart(judging: dict[str, Any]) -> dict[str, Any]:
    """Return who judges, each order of a pair being a question of its own."""
    return {**judging, "settings": {**judging["settings"], "both_orders": False}}


def _changed(kind: Kind, items: Sequence[Item], n: int) -> list[Item]:
    """Return the items of a probe as they will be asked about, or longer."""
    if kind == "injection":
        # Any item may carry any attack.
        longest = max(items, key=lambda item: sum(len(str(text).encode()) for text in item.values()))
        return [attacked(longest, text) for text in (*(attack.text for attack in attacks("")[:n]), *controls()[:n])]
    some = [items[at] for at in drawn(items, n, 0)]
    if kind == "format":
        return [rendered(item, rendering_of(at)) for at, item in enumerate(some)]
    return [padded(item) if kind == "length" else item for item in some]


def _sums(place: Place, judging: dict[str, Any], sample: list[Item], n_calls: int) -> dict[str, Any]:
    """Return the tokens at most and the US dollars, expected and at most, of so many calls, spread over `sample`."""
    tokens, expected, highest, known = 0.0, 0.0, 0.0, True
    for juror in judging["judges"] if n_calls else ():
        requests = [request for request, _ in requests_about(place, judging, juror, sample)]
        price = current().prices.of(requests[0])
        share = n_calls / len(judging["judges"]) / len(requests)
        tokens += share * sum(request.max_tokens_in + request.max_tokens_out for request in requests)
        if price is None:
            known = False
            continue
        expected += share * sum(expected_usd(one, price, "generate") for one in requests)
        highest += share * sum(price.highest_usd(one.max_tokens_in, one.max_tokens_out) for one in requests)
    return {
        "highest_tokens": round(tokens),
        "expected_usd": expected if known else None,
        "highest_usd": highest if known else None,
    }
