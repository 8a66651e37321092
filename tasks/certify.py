"""The certificate of a judge, put together from its labelled items, verdicts, probes and looks."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

from safetycatch.catches.harness import moving
from safetycatch.errors import StatisticsError
from safetycatch.identity import fingerprint, text_sha256
from safetycatch.judging.alternative_annotator import alternative_annotator_test
from safetycatch.judging.asking import ASKING_VERSION
from safetycatch.judging.calibration import counts_of, folded, overall_of, related, slices_of
from safetycatch.judging.ceiling import human_ceiling
from safetycatch.judging.certificate import (
    REFUSED,
    Certificate,
    Counts,
    Limits,
    Reason,
    decide_state,
    lowered,
    validity_of,
)
from safetycatch.judging.drift import choose_sentinels
from safetycatch.judging.further_labels import further_labels
from safetycatch.judging.people import is_adjudicator, people_agreement
from safetycatch.judging.sealing import DEV, SEALED
from safetycatch.judging.verdicts import PARSER_VERSION
from tasks.calibrate import question_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from safetycatch.catches import Policy
    from safetycatch.judge_settings import JudgeSettings
    from safetycatch.judging.calibration import JudgedItem
    from safetycatch.judging.sealing import Overlap
    from tasks.calibrate import Looked, Material
    from tasks.start import Inputs

FEWEST_PEOPLE, FEWEST_SHARED = 3, 50
MOST_PAIRS = 20
PROTOCOLS = {
    True: "drawn with known probability from all rows",
    False: "not known how they were drawn: taken as drawn at random",
}


def limits_of(policy: Policy) -> Limits:
    """Return the bars of SC102 as the user's settings have them."""
    tpr, tnr, j, least, per_class = (policy.threshold("SC102", name) for name in Limits._fields)
    return Limits(tpr, tnr, j, least, int(per_class))


def certificate_of(
    inputs: Inputs,
    material: Material,
    judged: Sequence[JudgedItem],
    *,
    judging: Mapping[str, Any],
    returned: Mapping[str, int],
    looked: Looked,
    overlaps: Sequence[Overlap],
    probes: Sequence[Mapping[str, Any]],
    policy: Policy,
    now: datetime,
) -> Certificate:
    """Return the certificate of an experiment's judge; `judged` are its items with verdicts, in any part.

    Items without a label, on which people do not settle, count for their agreement only. `returned` counts the models
    that answered, `overlaps` the sealed items found where the judge could learn them.
    """
    settings = material.settings
    labelled = [item for item in judged if item.label]
    sealed = [item for item in labelled if item.part == SEALED]
    limits = limits_of(policy)
    cluster = dict(zip((item.key for item in judged), related(judged), strict=True))
    counts = counts_of(sealed, settings, [cluster[item.key] for item in sealed])
    state, reasons = decide_state(counts, limits)
    budget = int(policy.threshold("SC105", "looks"))
    faults = _faults(looked, overlaps, budget)
    if settings.untrusted:
        faults += _obeys(probes, policy.threshold("SC108", "passed"))
    state, reasons = lowered(state, reasons, faults)
    if looked.total > 1 and state != REFUSED:
        reasons = (*reasons, _tries(looked.total))
    names = [judge["candidate"]["model"] for judge in judging["judges"]]
    hosted = [_full(name) for name in names if not name.get("endpoint")]
    until, validity = validity_of(
        floating=tuple(moving(hosted)),
        recorded=settings.verdicts is not None,
        issued_at=now,
        days=policy.threshold("SC103", "days"),
    )
    return Certificate(
        experiment=inputs.experiment.name,
        judge_key=judging["key"],
        judge=judge_facts(judging, returned),
        scale=settings.model_dump(mode="json", include={"scale", "passes", "criteria", "rule", "reference"}),
        state=state,
        reasons=reasons,
        labels_needed=further_labels(counts, limits, sealed_share=len(sealed) / max(1, len(material.items))),
        sealed=counts,
        whole=counts_of(labelled, settings, [cluster[item.key] for item in labelled]),
        overall=overall_of(labelled, settings, [cluster[item.key] for item in labelled]),
        labels_hash=material.labels_hash,
        labels=_labels(material),
        sizes={**_sizes(material), "judged": sum(item.verdict is not None for item in labelled)},
        sealed_keys=tuple(sorted(item.key.text for item in sealed)),
        people=_people(
            material,
            judged,
            {key.text: one for key, one in cluster.items()},
            policy.threshold("SC110", "margin"),
        ),
        slices=tuple({**asdict(one), "gap": one.gap} for one in slices_of(sealed, settings)),
        probes=tuple(dict(probe) for probe in probes),
        looks={"revision": looked.revision, "total": looked.total, "budget": budget},
        correction=_correction(counts, settings, known=_chances_known(material)),
        limits=limits._asdict(),
        issued_at=now.replace(microsecond=0),
        valid_until=until and until.replace(microsecond=0),
        validity=validity,
        sentinels=_sentinels(labelled, settings),
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Return the versions that verdicts depend on, and ours."""
    return {"safetycatch": metadata.version("safetycatch"), "asking": ASKING_VERSION, "parser": PARSER_VERSION}


def _faults(looked: Looked, overlaps: Sequence[Overlap], budget: int) -> tuple[Reason, ...]:
    found: list[Reason] = []
    if overlaps:
        first = overlaps[0]
        told = f"{len(overlaps)} sealed items are {first.kind} of what the judge could learn from ({first.where})"
        found.append(Reason("sealed_seen", told))
    if looked.total > budget:
        told = f"{looked.total} judges were measured on these sealed labels, their budget is {budget}"
        found.append(Reason("looks", f"{told}: what passed may have been chosen by it; label new items"))
    return tuple(found)


def _tries(n: int) -> Reason:
    told = f"{n} judges were measured on these sealed labels and each bound is 95 % for one of them"
    return Reason("tries", f"{told}: that one of them passes though all are just short of a bar has up to {5 * n} %")


def _obeys(probes: Sequence[Mapping[str, Any]], limit: float) -> tuple[Reason, ...]:
    """Return the reason where the injection probe shows, as SC108 asks it, that a judge does what it reads."""
    return tuple(
        Reason("obeys", f"it does what the text it grades says: {probe['detail']}")
        for probe in probes
        if probe["kind"] == "injection" and probe["lower"] > limit
    )


def _full(name: Mapping[str, Any]) -> str:
    return str(name["model"])


def judge_facts(judging: Mapping[str, Any], returned: Mapping[str, int]) -> dict[str, Any]:
    """Return who judges, as a certificate names them; `returned` counts the models that answered."""
    return {
        "judges": [
            {
                "id": judge["candidate"]["id"],
                "model": judge["candidate"]["model"],
                "params": judge["candidate"]["params"],
                "prompt": judge["candidate"]["prompt"],
                "rubric_sha256": text_sha256(judge["rubric"]),
            }
            for judge in judging["judges"]
        ],
        "returned": dict(returned),
        "recorded_sha256": judging["recorded_sha256"],
        "shots_sha256": shots_sha256(judging),
    }


def shots_sha256(judging: Mapping[str, Any]) -> str:
    """Return the fingerprint of the examples that a judge is shown; empty without any."""
    return fingerprint(judging["shots"]) if judging["shots"] else ""


def _chances_known(material: Material) -> bool:
    return any(item.probability is not None for item in material.items)


def _labels(material: Material) -> dict[str, Any]:
    labels = material.labelled.labels
    times = sorted(time for time in labels["labelled_at"].to_pylist() if time)
    annotators = Counter(labels["annotator"].to_pylist())
    return {
        "n_labels": labels.num_rows,
        "n_items": len(material.items),
        "n_disputed": len(material.disputed),
        "by_label": dict(Counter(item.label for item in material.items)),
        "annotators": dict(sorted(annotators.items())),
        "first": times[0] if times else None,
        "last": times[-1] if times else None,
        "protocol": PROTOCOLS[_chances_known(material)],
        "rubrics": sorted({text for text in labels["rubric_hash"].to_pylist() if text}),
        "left_out": material.left_out,
        "notes": list(material.notes),
    }


def _sizes(material: Material) -> dict[str, int]:
    counts = Counter(item.part for item in material.items)
    return {part: counts[part] for part in ("few_shot", "dev", "sealed", "left_out")}


def _people(
    material: Material, judged: Sequence[JudgedItem], cluster: Mapping[str, int], margin: float
) -> dict[str, Any]:
    """Return how people agree, and how the judge compares with them: by SC110's `margin` it is no worse."""
    settings = material.settings
    found = people_agreement(material.labelled.labels, grades=tuple(map(str, settings.grades)))
    said = said_by(material)
    verdicts = {item.key.text: folded(item.verdict, settings) for item in judged}
    ceiling = human_ceiling(said, verdicts, cluster=cluster, margin=margin)
    test = _annotator_test(said, verdicts, settings)
    return {
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "criterion": pair.criterion,
                "n": pair.n,
                "agreed": pair.agreed.estimate,
                "kappa": pair.kappa.estimate,
            }
            for pair in found.pairs[:MOST_PAIRS]
        ],
        "contested": list(found.contested),
        "criteria": [asdict(one) for one in found.criteria],
        "ceiling": asdict(ceiling),
        "alternative_annotator": test,
    }


def _annotator_test(
    said: Mapping[str, Mapping[str, str]], verdicts: Mapping[str, str | None], settings: JudgeSettings
) -> dict[str, Any]:
    """Return the alternative-annotator test where three people or more share enough items; else why it was not made."""
    names = sorted({name for by in said.values() for name in by})
    keys = [key for key, by in said.items() if len(by) > 1 and verdicts.get(key) is not None]
    if len(names) < FEWEST_PEOPLE or len(keys) < FEWEST_SHARED:
        return {"reason": f"{len(names)} people, {len(keys)} items that two of them labelled: too few"}
    number = bool(settings.grades) and not settings.is_rate

    def value(label: str | None) -> Any:
        return float(label) if number and label is not None else label

    humans = {name: [value(said[key].get(name)) for key in keys] for name in names}
    try:
        test = alternative_annotator_test(
            [value(verdicts[key]) for key in keys], humans, scale="numeric" if number else "nominal"
        )
    except StatisticsError as error:
        return {"reason": str(error)}
    return {
        "winning_rate": test.winning_rate,
        "rho": test.rho,
        "annotators": list(test.annotators),
        "n_items": len(keys),
    }


def said_by(material: Material) -> dict[str, dict[str, str]]:
    """Return what each person says of each item as a whole, by `ItemKey.text`; adjudicators do not vote."""
    keys = {tuple(item.key): item.key.text for item in (*material.items, *material.disputed)}
    said: dict[str, dict[str, str]] = defaultdict(dict)
    for row in material.labelled.labels.to_pylist():
        key = keys.get((row["example_id"], row["candidate"], row["output_hash"]))
        if key is None or row["criterion"] or is_adjudicator(row["annotator"]):
            continue
        said[key][row["annotator"]] = folded(row["label"], material.settings) or ""
    return dict(said)


def _correction(counts: Sequence[Counts], settings: JudgeSettings, *, known: bool) -> dict[str, Any]:
    """Return how a run's rates are corrected, and the most that the judge can add to the labels alone.

    With ever more judged rows the post-stratified estimate's variance falls to 1 - phi^2 of the labels' own.
    """
    if not settings.is_rate:
        method = "ppi" if settings.grades else "none"
        return {"method": method, "assumption": "labels of the run's own answers", "gain_at_most": None}
    phi = counts[0].figures["mcc"].estimate if counts else None
    gain = None if phi is None or not 0 <= phi < 1 else 1 / (1 - phi**2)
    if known:
        told = "labels drawn from the judged rows with known probability; else the counts below, by Rogan and Gladen"
        return {"method": "post_stratified", "assumption": told, "gain_at_most": _finite(gain)}
    told = "the judge errs on a run's answers as it does on the sealed ones"
    return {"method": "rogan_gladen", "assumption": told, "gain_at_most": _finite(gain)}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _sentinels(judged: Sequence[JudgedItem], settings: JudgeSettings) -> dict[str, Any]:
    """Return dev items with their verdicts: asked again later, they show whether the judge is still the same."""
    dev = [item for item in judged if item.part == DEV]
    questions = [{**question_of(item, settings), "key": item.key.text} for item in dev]
    chosen = choose_sentinels(questions, [item.verdict for item in dev])
    return {"verdicts": {one["key"]: one["verdict"] for one in chosen}}
