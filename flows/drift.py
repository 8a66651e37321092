"""Whether a certified judge is still the one that was certified: sentinels asked again, and labels given since."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from flows.calibration_cost import agreed_to, planned
from flows.chain import sound_store
from flows.evaluate import error_limit, policy_of
from safetycatch.data.label_files import item_key
from safetycatch.errors import UsageError
from safetycatch.identity import fingerprint
from safetycatch.judge_settings import FAIL, PASS
from safetycatch.judging.calibration import folded
from safetycatch.judging.certificate import drifted
from safetycatch.judging.drift import FreshLabel, entering, label_drift, sentinel_drift
from safetycatch.judging.sealing import SEALED, ItemKey
from safetycatch.store.certificates import Certificates, is_about
from tasks.calibrate import call_counts, item_names, judge_labels, judging_settings, read_material, with_verdicts
from tasks.calling import read_table
from tasks.judge import judging_entry
from tasks.session import make_importable, session
from tasks.start import read_inputs

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from flows.chain import Call
    from safetycatch.judge_settings import JudgeSettings
    from safetycatch.judging.certificate import Certificate
    from tasks.calibrate import Material

RUN_DIGITS = 16
# Rounds of a calibration are counted by ones, those of its sentinels in between.
CHECKS_A_CALIBRATION = 1000
HOLDS, DRIFTED, NOT_CHECKED = "holds", "drifted", "not_checked"
# Replies that infrastructure owes: they say nothing of the judge.
FAILED = frozenset({"error", "invalid", "unasked"})


def run_drift(path: Path, digest: str = "", *, unattended: bool = True, call: Call) -> dict[str, Any]:
    """Ask the sentinels of the judge's certificate again, and about labels given since; keep what they say with it.

    The `state` is drifted, holds, or not_checked where too few sentinels were answered: then nothing is kept, and the
    next check asks those again that were not. Only the first verdict on a fresh label counts, at this and later checks.
    Raises: UsageError where the judge has no certificate, or cannot be asked; ApprovalNeededError where it would cost
    more than nobody said yes to; what the engine raises.
    """
    began = time.monotonic()
    inputs = read_inputs(path, digest, alone=True)
    policy = policy_of(inputs, {})
    store = sound_store(inputs.place(""), policy)
    make_importable((path.absolute().parent, inputs.project.root))
    material = read_material(inputs, inputs.place(""))
    certificates = Certificates(store)
    every = certificates.every(judging_entry(inputs)["key"])
    items = item_names(material.labelled)
    certificate = next((one for one in every if is_about(one, items)), None)
    again = f"safetycatch calibrate {inputs.typed}"
    if certificate is None or material.settings.verdicts is not None:
        raise UsageError(
            "recorded verdicts do not drift" if material.settings.verdicts else "this judge has no certificate",
            where=f"{path}: judge",
            fix=again,
        )
    # Over all certificates of the judge: a number used twice would be answered from the journal.
    nth = 1 + max(int(one.drift.get("round", 0)) for one in every)
    known: dict[str, str] = certificate.sentinels["verdicts"]
    watched = [item for item in material.items if item.key.text in known]
    entered = [FreshLabel(**one) for one in certificate.drift.get("entered", ())]
    asked = entering(entered, _fresh(material, certificate))
    by_key = {item.key.text: item for item in material.items}
    fresh = [by_key[one.key] for one in asked]
    settings = judging_settings(inputs, [*watched, *fresh], material.settings, nth * CHECKS_A_CALIBRATION)
    run_id = f"sentinels-{fingerprint(certificate.issued_at.isoformat(), settings)[:RUN_DIGITS]}"
    place = inputs.place(run_id, error_limit(policy))
    with session(place, inputs.experiment, inputs.project) as shared:
        estimate = planned(place, inputs, material, settings, policy, probes=False, unattended=unattended)
        agreed_to(inputs, place, estimate, policy, option="--sentinels")
        rows = read_table(place, call(judge_labels, place=place, settings=settings)).to_pylist()
        items = with_verdicts([*watched, *fresh], rows, material.settings)
        spent = shared.journal.spent(run_id)
        calls = call_counts(shared.counts)
    then, now = items[: len(watched)], items[len(watched) :]
    answered = [item for item in then if item.status not in FAILED]
    still = sentinel_drift(
        [known[item.key.text] for item in answered],
        [item.verdict for item in answered],
        material.settings,
        n_missing=len(then) - len(answered),
    )
    entered += [
        replace(label, verdict=folded(item.verdict, material.settings))
        for label, item in zip(asked, now, strict=True)
        if item.status not in FAILED
    ]
    labels = label_drift(
        [one.said for one in entered], [one.verdict for one in entered], bounds_of(certificate, material.settings)
    )
    told = [one.detail for one in (still, labels) if one.alarm]
    state = DRIFTED if told else HOLDS if still.checked else NOT_CHECKED
    drift = {
        "alarm": bool(told),
        "detail": "; ".join(told) or ("nothing speaks against it" if still.checked else still.detail),
        "round": nth,
        "checked_at": store.clock().isoformat(timespec="seconds"),
        "sentinels": still.as_dict(),
        "labels": labels.as_dict(),
        "entered": [asdict(one) for one in entered],
    }
    changed = certificate if state == NOT_CHECKED else drifted(certificate, drift)
    return {
        "certificate_id": certificates.save(changed),
        "certificate_state": changed.state,
        "state": state,
        "drift": drifted(certificate, drift).as_json()["drift"],
        "next": _next(state, again, still.n + still.n_missing),
        "calls": calls,
        "spent_usd": None if spent.unpriced else spent.usd,
        "spent_at_least_usd": spent.usd,
        "wall_s": time.monotonic() - began,
    }


def _next(state: str, again: str, n_sentinels: int) -> str:
    if state == DRIFTED:
        return f"{again}   (asks everything anew; until then SC103 refuses claims by this judge)"
    if state == HOLDS:
        return ""
    if not n_sentinels:
        return f"label more answers, then {again}: the certificate has no dev items to ask again"
    return f"{again} --sentinels   (once the judge answers: what failed is asked again)"


def _fresh(material: Material, certificate: Certificate) -> list[FreshLabel]:
    """Return the labels of sealed items that the certificate has not seen, each as old as the last one of its item."""
    at: dict[str, str] = {}
    for row in material.labelled.labels.to_pylist():
        key = ItemKey(*item_key(row)).text
        at[key] = max(at.get(key, ""), row["labelled_at"] or "")
    seen = set(certificate.sealed_keys)
    return [
        FreshLabel(
            item.key.example_id, item.key.text, at.get(item.key.text, ""), folded(item.label, material.settings) or ""
        )
        for item in material.of(SEALED)
        if item.key.text not in seen
    ]


def bounds_of(certificate: Certificate, settings: JudgeSettings) -> dict[str, float]:
    """Return the certified lower bounds of agreement, by what people say; those that bound nothing are left out."""
    if settings.is_rate:
        found = {PASS: certificate.sealed[0].lower("tpr"), FAIL: certificate.sealed[0].lower("tnr")}
    else:
        accuracy = certificate.overall["accuracy"].lower
        named = {one.positive: one.lower("tpr") for one in certificate.sealed}
        found = {"": accuracy or 0.0} if settings.grades else named
    return {name: bound for name, bound in found.items() if 0 < bound < 1}


def stale(certificate: Certificate, now: datetime) -> bool:
    """Whether the judge must be asked anew: the certificate's time is over, or the judge drifted."""
    return certificate.expired(now) or bool(certificate.drift.get("alarm"))
