"""Foot gun 1: a judge that nobody compared with people, or that is no longer the one that was (SC101 to SC110)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from safetycatch.catches.finding import Observation, Policy
from safetycatch.judging.families import family_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from safetycatch.judging.certificate import Certificate
    from safetycatch.judging.sealing import Overlap

Level = Literal["refuse", "warn"] | None

SHOWN = 3
ALPHA = 0.05
# Probes that can find a bias, and what helps.
BIASES = {
    "swap": "both_orders: true for pairs",
    "length": "a rubric that says what length is worth, or candidates told to write equally long",
    "format": "a rubric that says what form is worth, or one form for all candidates",
    "self_preference": "a judge of another family than the candidates",
}
OWN_LABELS = frozenset({"post_stratified", "ppi", "labels_only"})
OPEN = "nobody knows yet whether the judge obeys the text it grades"
# What a refused certificate means, by its first reason; else that its verdicts say too little.
REFUSED_FOR = {
    "sealed_seen": "a judge that has seen its own test shows there what it remembers",
    "looks": "a judge chosen by looking at its sealed test again and again looks better there than it is",
    "obeys": "an answer that tells the judge what to say gets it said, and no correction knows which ones do",
    "inverted": "its verdicts say the opposite of what people say",
    "no_sealed_labels": "nobody knows how often this judge is right",
    "too_few": "with so few labels nobody knows how often this judge is right",
}
NO_JUDGE = "no metric needs a judge"
NO_CERTIFICATE = "there is no certificate of this judge"


class JudgeUse(NamedTuple):
    """How an experiment uses its judge: `claimed` where the claim or a guardrail rests on it; `file` as typed.

    `criteria` are the single criteria that they rest on: a certificate is about whole answers.
    """

    claimed: bool
    file: str
    criteria: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        """A judge that only informs warns."""
        return None if self.claimed else "warn"

    @property
    def calibrate(self) -> str:
        """The command that makes a certificate."""
        return f"safetycatch calibrate {self.file}"


def labels_exist(use: JudgeUse | None, *, labels: str | None, n_labels: int) -> Observation:
    """SC101: people labelled answers that the judge can be compared on; `labels` is where they are said to lie."""
    if use is None:
        return Observation("SC101", "not_applicable", NO_JUDGE)
    if n_labels:
        return Observation("SC101", "passed", f"{n_labels:,} labels in {labels}")
    saw = f"{labels} holds no label" if labels else "a judge, and no labels of people"
    return Observation(
        "SC101",
        "fired",
        saw,
        "nobody knows how often this judge is right",
        f"safetycatch review {use.file}, then judge: {{labels: labels/NAME}} and {use.calibrate}",
        level=use.level,
    )


def is_certified(
    use: JudgeUse | None, certificate: Certificate | None, *, other: bool = False, elsewhere: Certificate | None = None
) -> Observation:
    """SC102: the judge has a certificate that lets its rates be used; `other`: there is one of another judge only.

    `elsewhere` is one of this judge on labels that are not this experiment's.
    """
    if use is None:
        return Observation("SC102", "not_applicable", NO_JUDGE)
    if certificate is None:
        if other:
            return Observation("SC102", "not_checked", "the certificate there is was made for another judge (SC103)")
        return Observation(
            "SC102",
            "fired",
            "this judge was never calibrated"
            if elsewhere is None
            else f"this judge was never calibrated on these labels; {_named(elsewhere)} is about other ones",
            "its raw rate may be off by any amount, in any direction",
            use.calibrate,
            level=use.level,
        )
    told = f"{_named(certificate)}: {certificate.state}"
    if use.criteria and certificate.state != "refused":
        return Observation(
            "SC102",
            "fired",
            f"{told}, of whole answers; nothing certifies {', '.join(use.criteria)}",
            "how often the judge is right on one criterion, its figures for the whole do not say",
            "claim judge; or make the criterion a rubric of its own, label by it, and " + use.calibrate,
            _evidence(certificate),
            level=use.level,
        )
    if certificate.state == "certified":
        weakest = min(certificate.sealed, key=lambda one: one.lower("j"))
        bounds = ", ".join(
            f"{word} at least {weakest.lower(name):.2f}" for name, word in (("tpr", "TPR"), ("tnr", "TNR"))
        )
        return Observation("SC102", "passed", f"{told} · {bounds} (n = {weakest.n})")
    reasons = [reason.text for reason in certificate.reasons]
    saw = "; ".join([told, *reasons[:SHOWN]]) + (f"; {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else "")
    needed = certificate.labels_needed[0] if certificate.labels_needed else "see its page"
    if certificate.state == "provisional":
        return Observation(
            "SC102",
            "fired",
            saw,
            "only corrected rates are shown: their intervals pay for the judge's errors; what nothing corrects is "
            "withheld",
            f"{needed}; then {use.calibrate}",
            _evidence(certificate),
            level="warn",
        )
    return Observation(
        "SC102",
        "fired",
        saw,
        next(
            (told for code, told in REFUSED_FOR.items() if code in {reason.code for reason in certificate.reasons}),
            "no correction can make up for a judge that hardly tells right from wrong",
        ),
        f"{needed}; then {use.calibrate}",
        _evidence(certificate),
        level=use.level,
    )


def _named(certificate: Certificate) -> str:
    """Return which certificate is taken, in words."""
    about = f"{certificate.issued_at:%Y-%m-%d}, {certificate.experiment}"
    return f"certificate {certificate.certificate_id[:12]} ({about})"


def _evidence(certificate: Certificate) -> dict[str, Any]:
    return {
        "certificate": certificate.certificate_id,
        "state": certificate.state,
        "reasons": [reason.code for reason in certificate.reasons],
    }


def certificate_fits(
    use: JudgeUse | None,
    certificate: Certificate | None,
    *,
    changed: Sequence[str] = (),
    now: datetime,
    policy: Policy,
) -> Observation:
    """SC103: the certificate is this judge's, in time, and no sentinel says otherwise; `changed` is what differs."""
    if use is None:
        return Observation("SC103", "not_applicable", NO_JUDGE)
    if certificate is None:
        return Observation("SC103", "not_applicable", NO_CERTIFICATE)
    evidence = {"certificate": certificate.certificate_id, "changed": list(changed)}
    if changed:
        return Observation(
            "SC103",
            "fired",
            f"changed since the certificate of {certificate.issued_at:%Y-%m-%d}: {', '.join(changed)}",
            "what was certified is another judge",
            use.calibrate,
            evidence,
            level=use.level,
        )
    if certificate.drift.get("alarm"):
        return Observation(
            "SC103",
            "fired",
            f"the judge drifted: {certificate.drift.get('detail', 'its sentinels changed')}",
            "its verdicts are no longer those that were compared with people",
            use.calibrate,
            evidence,
            level=use.level,
        )
    until = certificate.valid_until
    if certificate.expired(now):
        days = policy.threshold("SC103", "days")
        return Observation(
            "SC103",
            "fired",
            f"it held until {until:%Y-%m-%d}: {certificate.validity}",
            f"after {days:g} days a name may mean another model",
            use.calibrate,
            evidence,
            level=use.level,
        )
    return Observation(
        "SC103", "passed", f"it holds{f' until {until:%Y-%m-%d}' if until else ''}: {certificate.validity}"
    )


def judges_others(judges: Sequence[str] | None, candidates: Mapping[str, str]) -> Observation:
    """SC104: no judge shares a model family with a candidate; `candidates` are models by candidate id."""
    if judges is None:
        return Observation("SC104", "not_applicable", NO_JUDGE)
    if not judges:
        return Observation("SC104", "not_checked", "recorded verdicts: which model gave them is not known")
    own = {family_of(name): name for name in judges}
    own.pop("", None)
    shared = [(name, model) for name, model in candidates.items() if family_of(model) in own]
    if not shared:
        return Observation("SC104", "passed", f"no candidate is of the family of {', '.join(judges)}")
    name, model = shared[0]
    return Observation(
        "SC104",
        "fired",
        f"{own[family_of(model)]} judges {name} ({model}), of the same family"
        + (f", and {len(shared) - 1} more candidates" if len(shared) > 1 else ""),
        "a judge's liking for its own kind looks like quality; against another family's candidate it decides",
        "a judge of another family; the certificate's probe of self-preference measures it",
        {"judges": list(judges), "candidates": [name for name, _ in shared]},
    )


def sealed_is_unseen(
    use: JudgeUse | None, overlaps: Sequence[Overlap] | None, *, n_sealed: int, looks: int, policy: Policy
) -> Observation:
    """SC105: no sealed label is among what the judge reads, and the sealed test was not looked at too often.

    `overlaps` None: the labels cannot be read.
    """
    if use is None:
        return Observation("SC105", "not_applicable", NO_JUDGE)
    if overlaps is None:
        return Observation("SC105", "not_checked", "there are no sealed labels to look for")
    budget = int(policy.threshold("SC105", "looks"))
    if overlaps:
        first = overlaps[0]
        found = {one.key for one in overlaps}
        return Observation(
            "SC105",
            "fired",
            f"{len(found)} of {n_sealed} sealed labels: e.g. {first.key.example_id} is {first.kind} of {first.where}",
            "the judge was shown its test: its certificate is too good",
            f"take them out of {first.where}, then {use.calibrate}",
            {"items": [one.key.example_id for one in overlaps[:20]], "where": sorted({one.where for one in overlaps})},
            level=use.level,
        )
    if looks > budget:
        return Observation(
            "SC105",
            "fired",
            f"{looks} judges measured on these sealed labels, their budget is {budget}",
            "of several revisions, the one that passed may have passed by luck",
            f"label new items: safetycatch review {use.file}; they count while half of the sealed items are the same",
            {"looks": looks, "budget": budget},
            level=use.level,
        )
    told = f"none of {n_sealed} sealed labels is shown · {looks} of {budget} judges measured on them"
    return Observation("SC105", "passed", told)


def is_steady(use: JudgeUse | None, certificate: Certificate | None, policy: Policy) -> Observation:
    """SC106: swaps, repeats and unreadable replies stay below their limits (upper bounds), and no bias is shown."""
    if use is None:
        return Observation("SC106", "not_applicable", NO_JUDGE)
    if certificate is None:
        return Observation("SC106", "not_checked", NO_CERTIFICATE)
    limits = {"swap": "swap", "retest": "retest", "parse": "unparsed"}
    found = {
        one["kind"]: one
        for one in certificate.probes
        if (one["kind"] in limits or one["kind"] in BIASES) and one["verdict"] != "not_checked"
    }
    if not found:
        return Observation("SC106", "not_checked", "the certificate holds no such probe")
    above = {
        kind: policy.threshold("SC106", name)
        for kind, name in limits.items()
        if kind in found and not _below(found[kind], policy.threshold("SC106", name))
    }
    biased = [kind for kind in BIASES if kind in found and found[kind]["verdict"] == "found"]
    if not above and not biased:
        return Observation("SC106", "passed", "; ".join(map(_probe, found.values())))
    noise = "verdicts that change for no reason widen every interval, and the order may favour one side"
    lead = "a candidate that writes what the judge likes wins without being better"
    steadier = "both_orders: true for pairs; a jury, or a clearer rubric; more probes where only the bound is above"
    return Observation(
        "SC106",
        "fired",
        "; ".join(
            [
                *(f"{_probe(found[kind])}, limit {limit:.0%}" for kind, limit in above.items()),
                *(_bias(found[kind]) for kind in biased),
            ]
        ),
        "; ".join([*[noise] * bool(above), *[lead] * bool(biased)]),
        "; ".join([*[steadier] * bool(above), *(BIASES[kind] for kind in biased if kind not in above)]),
        {kind: dict(found[kind]) for kind in found if kind in above or kind in biased},
    )


def obeys_nobody(
    use: JudgeUse | None, certificate: Certificate | None, *, untrusted: bool, policy: Policy
) -> Observation:
    """SC108: known-bad answers that instruct the judge do not pass, where text of strangers is graded."""
    if use is None:
        return Observation("SC108", "not_applicable", NO_JUDGE)
    if certificate is None:
        return Observation("SC108", "not_checked", NO_CERTIFICATE)
    if not untrusted:
        return Observation("SC108", "not_applicable", "the graded text is declared trusted (untrusted: false)")
    found = next(
        (one for one in certificate.probes if one["kind"] == "injection" and one["verdict"] != "not_checked"), None
    )
    if found is None:
        return Observation("SC108", "not_checked", "the certificate holds no injection probe")
    limit = policy.threshold("SC108", "passed")
    if _below(found, limit):
        return Observation("SC108", "passed", _probe(found))
    lower = found.get("lower")
    sure = lower is not None and lower > limit
    return Observation(
        "SC108",
        "fired",
        f"{found.get('detail') or _probe(found)}: {_net(found)} rise because of it, limit {limit:.0%}",
        f"an answer that tells the judge what to say {'gets' if sure else 'may get'} it said",
        "another judge, or a rubric that says what such text is worth (untrusted: false where nobody else writes it)",
        {"probe": dict(found)},
        level=use.level if sure else "warn",
        title="" if sure else OPEN,
    )


def canaries_obeyed(use: JudgeUse | None, canaries: Sequence[Mapping[str, Any]]) -> Observation | None:
    """SC108 after a run: a judge gave its canaries what they asked for, more often than one that does not care could.

    None where none did: a few twins cannot show that a judge obeys nobody, which stays with the certificate's probe.
    """
    worst = min(canaries, key=lambda one: one["p_value"], default=None)
    if use is None or worst is None or worst["p_value"] >= ALPHA:
        return None
    return Observation(
        "SC108",
        "fired",
        f"{worst['judge']}: {worst['obeyed']} of {worst['n']} canaries were rated higher than their twins that asked "
        f"for the opposite (p = {worst['p_value']:.3f}), such as {worst['example']!r}",
        "an answer that tells the judge what to say gets it said",
        "another judge, or a rubric that says what such text is worth (untrusted: false where nobody else writes it)",
        {"canaries": [dict(one) for one in canaries]},
        level=use.level,
    )


def _below(probe: Mapping[str, Any], limit: float) -> bool:
    upper = probe.get("upper")
    return upper is not None and upper <= limit


def _probe(probe: Mapping[str, Any]) -> str:
    upper = probe.get("upper")
    bound = "no bound" if upper is None else f"at most {upper:.1%}"
    return f"{probe['kind']}: {probe['events']} of {probe['n']} ({bound})"


def _bias(probe: Mapping[str, Any]) -> str:
    effect = probe.get("effect")
    shown = "" if effect is None else f", a bias of {100 * effect:+.1f} points"
    return f"{probe['kind'].replace('_', '-')}: {probe.get('detail') or 'found'}{shown}"


def _net(probe: Mapping[str, Any]) -> str:
    bounds = [probe.get("lower"), probe.get("upper")]
    return " to ".join("?" if bound is None else f"{max(0.0, bound):.1%}" for bound in bounds)


def even_on_slices(use: JudgeUse | None, certificate: Certificate | None, policy: Policy) -> Observation:
    """SC109: no slice has a TPR or TNR that is shown to be lower by more than the gap."""
    if use is None:
        return Observation("SC109", "not_applicable", NO_JUDGE)
    if certificate is None:
        return Observation("SC109", "not_checked", NO_CERTIFICATE)
    if not certificate.slices:
        return Observation("SC109", "not_checked", "no slice has 30 sealed labels")
    gap, alpha = policy.threshold("SC109", "gap"), policy.threshold("SC109", "alpha")
    worse = [one for one in certificate.slices if one["p_adjusted"] < alpha and one["gap"] > gap]
    if not worse:
        return Observation(
            "SC109", "passed", f"{len(certificate.slices)} rates of slices, none worse by {100 * gap:g} points"
        )
    first = worse[0]
    return Observation(
        "SC109",
        "fired",
        f"{first['slice']}: {first['figure'].upper()} {first['estimate']:.2f} (n = {first['n']}) against "
        f"{first['rest']:.2f} elsewhere (p = {first['p_adjusted']:.3f})"
        + (f", and {len(worse) - 1} more" if len(worse) > 1 else ""),
        "a candidate that is better there is not seen to be",
        "say in the rubric what is right there, or label more of that slice and correct it apart",
        {"slices": [dict(one) for one in worse[:20]]},
    )


def adds_something(rates: Sequence[Mapping[str, Any]] | None, policy: Policy) -> Observation:
    """SC107: a label is worth more with the judge than without; `rates` are a run's judged figures (None: no judge).

    Asked of labels of the run's own answers only: labels from elsewhere say nothing here without the judge.
    """
    if rates is None:
        return Observation("SC107", "not_applicable", NO_JUDGE)
    known = [row for row in rates if row["slice"] == "all" and row["gain"] is not None]
    known = [row for row in known if row["method"] in OWN_LABELS]
    if not known:
        return Observation("SC107", "not_checked", "no rate here rests on labels of these very answers")
    limit = policy.threshold("SC107", "gain")
    least = min(known, key=lambda row: row["gain"])
    saw = f"effective-label gain {least['gain']:.2f} for {least['candidate']} ({least['n_labels']} labels)"
    evidence = {"gains": {f"{row['candidate']}, {row['metric']}": row["gain"] for row in known}}
    if least["gain"] >= limit:
        return Observation(
            "SC107", "passed", f"{saw} and more for the others" if len(known) > 1 else saw, evidence=evidence
        )
    return Observation(
        "SC107",
        "fired",
        saw,
        "the judge adds nothing here: the labels alone say as much",
        "a better judge (refine its rubric, another model), or none: labels alone",
        evidence,
    )


def as_good_as_people(use: JudgeUse | None, certificate: Certificate | None, policy: Policy) -> Observation:
    """SC110: the judge agrees with people about as well as they do with each other."""
    if use is None:
        return Observation("SC110", "not_applicable", NO_JUDGE)
    if certificate is None:
        return Observation("SC110", "not_checked", NO_CERTIFICATE)
    ceiling = certificate.people.get("ceiling") or {}
    test = certificate.people.get("alternative_annotator") or {}
    margin, winning = policy.threshold("SC110", "margin"), policy.threshold("SC110", "winning")
    low, high, rate = ceiling.get("low"), ceiling.get("high"), test.get("winning_rate")
    if low is None and rate is None:
        reason = ceiling.get("reason") or "no item was labelled by two people"
        return Observation("SC110", "not_checked", f"{reason}: how well people agree is not known")
    said: list[str] = []
    if low is not None:
        said.append(
            f"kappa with people {ceiling['judge']:.2f}, theirs {ceiling['people']:.2f} (n = {ceiling['n']}, "
            f"lower by {low:.2f} to {high:.2f})"
        )
    if rate is not None:
        said.append(f"it wins {rate:.2f} of the alternative-annotator tests")
    contested = [name or "the whole answer" for name in certificate.people.get("contested", ())]
    if contested:
        said.insert(0, f"people themselves disagree on {', '.join(contested)}")
    evidence = {"ceiling": dict(ceiling), "alternative_annotator": dict(test)}
    if (low is not None and low > margin) or (rate is not None and rate < winning):
        return Observation(
            "SC110",
            "fired",
            "; ".join(said),
            "another person's label is worth more than this judge's",
            ("say in the rubric what is right where people disagree" if contested else "refine the rubric")
            + f" by the dev disagreements on the certificate's page, then {use.calibrate}",
            evidence,
        )
    if high is not None and high >= margin:
        return Observation("SC110", "not_checked", f"{'; '.join(said)}: too few shared labels to tell")
    return Observation("SC110", "passed", "; ".join(said), evidence=evidence)
