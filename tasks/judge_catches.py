"""The catches of a run's judge, before its first call: labels, certificate, families, and what the judge may know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.catches.judges import (
    JudgeUse,
    as_good_as_people,
    certificate_fits,
    even_on_slices,
    is_certified,
    is_steady,
    judges_others,
    labels_exist,
    obeys_nobody,
    sealed_is_unseen,
)
from safetycatch.identity import text_sha256
from safetycatch.judging.asking import ASKING_VERSION
from safetycatch.judging.sealing import SEALED
from safetycatch.judging.verdicts import PARSER_VERSION
from safetycatch.scoring.judged import JUDGE, is_judged
from safetycatch.store.certificates import Certificates
from tasks.calibrate import dealt_items, item_names, read_people, sealed_overlaps
from tasks.certify import shots_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from safetycatch.catches import Observation, Policy
    from safetycatch.judging.certificate import Certificate
    from safetycatch.judging.sealing import Overlap
    from tasks.calibrate import People
    from tasks.prepared import Prepared


def observe_judge(prepared: Prepared, policy: Policy) -> Iterator[Observation]:
    """Yield what is known of the judge that this run uses, before a call is sent.

    Raises: StoreError where a certificate or the list of sealed labels is damaged; what reading the labels raises.
    """
    use = judge_use(prepared)
    now = prepared.place.open_store().clock()
    settings = prepared.experiment.judge
    people = _people(prepared) if use else None
    certificate, changed = certificate_of_run(prepared, people)
    own = certificate if not changed else None
    kept = Certificates(prepared.place.open_store())
    elsewhere = kept.of(prepared.judging["key"]) if prepared.judging and own is None else None
    yield labels_exist(
        use,
        labels=settings.labels if settings else None,
        n_labels=people.labelled.labels.num_rows if people else 0,
    )
    yield is_certified(use, own, other=bool(changed), elsewhere=elsewhere)
    yield certificate_fits(use, certificate, changed=changed, now=now, policy=policy)
    models = [judge.model.full for judge in prepared.experiment.judges if judge.model]
    wrote = {one.id: one.model.full for one in prepared.experiment.candidates if one.model}
    yield judges_others(models if use else None, wrote)
    found, n_sealed = _overlaps(prepared, people)
    looks = own.looks["total"] if own else 0
    yield sealed_is_unseen(use, found, n_sealed=n_sealed, looks=looks, policy=policy)
    yield is_steady(use, own, policy)
    yield obeys_nobody(use, own, untrusted=settings.untrusted if settings else True, policy=policy)
    yield even_on_slices(use, own, policy)
    yield as_good_as_people(use, own, policy)


def judge_use(prepared: Prepared) -> JudgeUse | None:
    """Return how a run uses its judge; None where no metric needs one."""
    if prepared.judging is None:
        return None
    claim = prepared.experiment.claim
    named = [claim.metric, *(rail.metric for rail in claim.guardrails)] if claim else []
    # Without a claim the first metric is the headline.
    headline = named or [prepared.scorers[0]]
    criteria = tuple(dict.fromkeys(name for name in headline if is_judged(name) and name != JUDGE))
    return JudgeUse(claim is None or any(is_judged(name) for name in named), prepared.inputs.typed, criteria)


def certificate_of_run(prepared: Prepared, people: People | None) -> tuple[Certificate | None, list[str]]:
    """Return the newest certificate of the run's judge on its labels; else the experiment's newest with what changed.

    One of the same judge that is about other labels counts for nothing here.
    """
    judging = prepared.judging
    if judging is None:
        return None, []
    certificates = Certificates(prepared.place.open_store())
    own = certificates.of(judging["key"], None if people is None else item_names(people.labelled))
    if own is not None:
        return own, []
    newest = certificates.newest(prepared.experiment.name)
    if newest is None or newest.judge_key == judging["key"]:
        return None, []
    return newest, changed_since(newest, judging)


def changed_since(certificate: Certificate, judging: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between the judge that was certified and the one of `judging`."""
    before: list[dict[str, Any]] = certificate.judge["judges"]
    now: list[dict[str, Any]] = judging["judges"]
    found: list[str] = []
    if certificate.judge["recorded_sha256"] != judging["recorded_sha256"]:
        found.append("the recorded verdicts")
    if certificate.judge.get("shots_sha256", "") != shots_sha256(judging):
        found.append("its examples (judge.shots)")
    if len(before) != len(now):
        found.append(f"{len(now)} judges instead of {len(before)}")
    for old, new in zip(before, now, strict=False):
        whose, candidate = old["id"], new["candidate"]
        for name, was, is_now in (
            ("model", old["model"], candidate["model"]),
            ("parameters", old["params"], candidate["params"]),
            ("rubric", old["rubric_sha256"], text_sha256(new["rubric"])),
        ):
            if was != is_now:
                found.append(f"the {name} of {whose}")
    scale = {name: judging["settings"][name] for name in certificate.scale}
    found += [f"judge.{name}" for name in scale if certificate.scale[name] != scale[name]]
    for name, version in (("asking", ASKING_VERSION), ("parser", PARSER_VERSION)):
        if certificate.versions.get(name) != version:
            found.append(f"the {name} version")
    return found or ["the judge's settings"]


def _people(prepared: Prepared) -> People | None:
    settings = prepared.experiment.judge
    if settings is None or settings.labels is None or not (prepared.inputs.path.parent / settings.labels).exists():
        return None
    return read_people(prepared.inputs)


def _overlaps(prepared: Prepared, people: People | None) -> tuple[list[Overlap] | None, int]:
    settings = prepared.experiment.judge
    if people is None or settings is None or settings.verdicts is not None:
        return None, 0
    items = dealt_items(people, prepared.place)
    n_sealed = sum(item.part == SEALED for item in items)
    shots = prepared.judging["shots"] if prepared.judging else ()
    return (sealed_overlaps(prepared.inputs, items, shots), n_sealed) if n_sealed else (None, 0)
