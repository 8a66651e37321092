"""Whether a certified judge is still the one that was certified: sentinels asked again, and labels given since."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from flows.chain import sound_store
from flows.evaluate import error_limit, policy_of
from safetycatch.catches import judge, refuse
from safetycatch.catches.cost import budget_is_set
from safetycatch.errors import UsageError
from safetycatch.identity import fingerprint
from safetycatch.judge_settings import FAIL, PASS
from safetycatch.judging.calibration import folded
from safetycatch.judging.certificate import drifted
from safetycatch.judging.drift import label_drift, sentinel_drift
from safetycatch.judging.sealing import SEALED
from safetycatch.store.certificates import Certificates
from tasks.calibrate import call_counts, judge_labels, judging_settings, read_material, with_verdicts
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

RUN_DIGITS = 16
# Rounds of a calibration are counted by ones, those of its sentinels in between.
CHECKS_A_CALIBRATION = 1000


def run_drift(path: Path, digest: str = "", *, unattended: bool = True, call: Call) -> dict[str, Any]:
    """Ask the sentinels of the judge's certificate again, and about labels given since; keep what they say with it.

    Raises: UsageError where the judge has no certificate, or cannot be asked; what the engine raises.
    """
    began = time.monotonic()
    inputs = read_inputs(path, digest, alone=True)
    policy = policy_of(inputs, {})
    store = sound_store(inputs.place(""), policy)
    make_importable((path.absolute().parent, inputs.project.root))
    material = read_material(inputs, inputs.place(""))
    certificates = Certificates(store)
    certificate = certificates.of(judging_entry(inputs)["key"])
    if certificate is None or material.settings.verdicts is not None:
        raise UsageError(
            "recorded verdicts do not drift" if material.settings.verdicts else "this judge has no certificate",
            where=f"{path}: judge",
            fix=f"safetycatch calibrate {inputs.shown}",
        )
    budget = budget_is_set(
        budget=inputs.experiment.budget, sends=True, claiming=inputs.experiment.claiming, unattended=unattended
    )
    refuse(judge([budget], policy))
    nth = int(certificate.drift.get("round", 0)) + 1
    known: dict[str, str] = certificate.sentinels["verdicts"]
    sealed_then = set(certificate.sealed_keys)
    watched = [item for item in material.items if item.key.text in known]
    fresh = [item for item in material.of(SEALED) if item.key.text not in sealed_then]
    settings = judging_settings(inputs, [*watched, *fresh], material.settings, nth * CHECKS_A_CALIBRATION)
    run_id = f"sentinels-{fingerprint(certificate.issued_at.isoformat(), settings)[:RUN_DIGITS]}"
    place = inputs.place(run_id, error_limit(policy))
    with session(place, inputs.experiment, inputs.project) as shared:
        rows = read_table(place, call(judge_labels, place=place, settings=settings)).to_pylist()
        items = with_verdicts([*watched, *fresh], rows, material.settings)
        spent = shared.journal.spent(run_id)
        calls = call_counts(shared.counts)
    then, now = items[: len(watched)], items[len(watched) :]
    still = sentinel_drift([known[item.key.text] for item in then], [item.verdict for item in then], material.settings)
    labels = label_drift(
        [folded(item.label, material.settings) or "" for item in now],
        [folded(item.verdict, material.settings) for item in now],
        bounds_of(certificate, material.settings),
    )
    told = [one.detail for one in (still, labels) if one.alarm]
    drift = {
        "alarm": still.alarm or labels.alarm,
        "detail": "; ".join(told) or "nothing speaks against it",
        "round": nth,
        "checked_at": store.clock().isoformat(timespec="seconds"),
        "sentinels": still.as_dict(),
        "labels": labels.as_dict(),
    }
    changed = drifted(certificate, drift)
    return {
        "certificate_id": certificates.save(changed),
        "state": changed.state,
        "drift": changed.as_json()["drift"],
        "calls": calls,
        "spent_usd": None if spent.unpriced else spent.usd,
        "spent_at_least_usd": spent.usd,
        "wall_s": time.monotonic() - began,
    }


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
