"""Flow `calibrate`: a judge against people's labels, on a sealed test, to a certificate."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from flows.calibration_cost import agreed_to, planned
from flows.chain import as_task, sound_store
from flows.drift import NOT_CHECKED, run_drift, stale
from flows.evaluate import Digest, ExperimentFile, error_limit, policy_of
from flows.watching import failed
from safetycatch.errors import ProviderUnusableError
from safetycatch.identity import fingerprint
from safetycatch.judging.calibration import agreed, disagreements
from safetycatch.judging.sealing import DEV, FEW_SHOT, SEALED
from safetycatch.report.certificate import certificate_markdown, render_certificate
from safetycatch.store.certificates import Certificates
from tasks.calibrate import (
    call_counts,
    item_names,
    judge_labels,
    judging_settings,
    look_at,
    read_material,
    record_look,
    sealed_overlaps,
    with_verdicts,
)
from tasks.calling import read_table
from tasks.certify import certificate_of
from tasks.judge import judging_entry
from tasks.probes import run_probes
from tasks.session import WATCHER, make_importable, session
from tasks.start import read_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from flows.chain import Call
    from safetycatch.judging.calibration import JudgedItem
    from safetycatch.judging.certificate import Certificate
    from safetycatch.judging.probes import Probe
    from tasks.calibrate import Material
    from tasks.stage import Place
    from tasks.start import Inputs

RUN_DIGITS = 16
MOST_SHOWN = 20


def _run_name() -> str:
    return f"calibrate {Path(str(flow_run.parameters.get('experiment', ''))).stem}"


@flow(name="calibrate", flow_run_name=_run_name, persist_result=False, result_serializer="json")
def calibrate(
    experiment: ExperimentFile,
    digest: Digest = "",
    *,
    probes: bool = True,
    sentinels: bool = False,
    unattended: bool = True,
) -> Any:
    """Compare an experiment's judge with people's labels, and write its certificate; return what `--json` prints.

    Ends Completed whatever the certificate's state is: a run that claims by a judge without one is what is refused.
    Failed where `sentinels` could not be asked.

    Args:
        experiment: The experiment file, from the project's root, with judge: {model, prompt, labels}
        digest: The first 8 to 64 hex digits of the file's SHA-256, where only this content may run
        probes: Ask again with order, length, form and instructions changed, which costs further calls
        sentinels: Only ask the certificate's sentinels again, and new labels, whether the judge drifted
        unattended: Nobody is there to be asked, so a budget must be set
    """
    try:
        if sentinels:
            found = run_drift(Path(experiment), digest, unattended=unattended, call=as_task)
            return _as_checked(found) if unattended else found
        return run_calibration(Path(experiment), digest, probes=probes, unattended=unattended, call=as_task)
    except Exception as error:  # noqa: BLE001 - raised to the caller; Prefect, which may be shared, gets no row's text
        return failed(error)


def _as_checked(found: dict[str, Any]) -> dict[str, Any]:
    """Return it. Raises: ProviderUnusableError where nothing was checked: Completed would read as if it was."""
    if found["state"] == NOT_CHECKED:
        raise ProviderUnusableError(f"not checked: {found['drift']['detail']}")
    return found


def run_calibration(
    path: Path, digest: str = "", *, probes: bool = True, unattended: bool = True, call: Call
) -> dict[str, Any]:
    """Do what the flow does, with the stages called as `call` says."""
    began = time.monotonic()
    inputs = read_inputs(path, digest, alone=True)
    policy = policy_of(inputs, {})
    store = sound_store(inputs.place(""), policy)
    make_importable((path.absolute().parent, inputs.project.root))
    material = read_material(inputs, inputs.place(""))
    certificates = Certificates(store)
    nth = _round(certificates.every(judging_entry(inputs)["key"]), store.clock())
    settings = judging_settings(inputs, material.to_judge, material.settings, nth)
    # No run of `ls`: the id under which the journal counts what this judge on these labels costs, also when resumed.
    run_id = f"calibrate-{fingerprint(settings)[:RUN_DIGITS]}"
    place = inputs.place(run_id, error_limit(policy))
    say = WATCHER.get().say or (lambda _stage, _text: None)
    for note in material.notes:
        say("labels", note)
    with session(place, inputs.experiment, inputs.project) as shared:
        say("labels", _told(material))
        before = certificates.of(settings["judging"]["key"], item_names(material.labelled))
        standing = before if before is not None and not stale(before, store.clock()) else None
        probed = standing is not None and bool(standing.probes) and standing.labels_hash == material.labels_hash
        estimate = planned(
            place, inputs, material, settings, policy, probes=probes, unattended=unattended, probed=probed
        )
        agreed_to(inputs, place, estimate, policy, option="" if probes else "--no-probes")
        look = look_at(inputs, place, material, settings["judging"]["key"], nth)
        # Before the first verdict, so that a kill cannot hide it.
        looked = record_look(place, look)
        say("looks", f"{looked.total} judged by these sealed labels so far, look {looked.revision} of this judge")
        judged = call(judge_labels, place=place, settings=settings)
        rows = read_table(place, judged).to_pylist()
        items = with_verdicts(material.to_judge, rows, material.settings)
        # Without probes those of the same judge still stand: they measured what has not changed.
        found = [one.as_dict() for one in _probed(place, inputs, settings, items)] if probes else _kept(standing)
        certificate = certificate_of(
            inputs,
            material,
            items,
            judging=settings["judging"],
            returned=Counter(row["model_returned"] for row in rows if row["model_returned"]),
            looked=looked,
            overlaps=sealed_overlaps(inputs, material.items, settings["judging"]["shots"])
            if material.settings.verdicts is None
            else [],
            probes=found,
            policy=policy,
            now=store.clock(),
        )
        if standing is not None and standing.same_findings(certificate):
            # Nothing was measured anew, so nothing holds any longer than it did.
            certificate = standing
        certificate_id = certificates.save(certificate)
        apart = disagreements([item for item in items if _may_be_read(item, material)], material.settings)
        shown = [_shown(item) for item in apart[:MOST_SHOWN]]
        page = certificates.write_page(
            certificate_id, render_certificate(certificate_id, certificate.as_json(), shown, inputs.shown)
        )
        spent = shared.journal.spent(run_id)
        answered = {
            "certificate_id": certificate_id,
            **certificate.as_json(),
            "agreed": list(agreed([item for item in items if item.label])),
            "disagreements": shown,
            "n_disagreements": len(apart),
            "calls": call_counts(shared.counts),
            "spent_usd": None if spent.unpriced else spent.usd,
            "spent_at_least_usd": spent.usd,
            "wall_s": time.monotonic() - began,
            "page": str(page),
        }
    _publish(certificate, page)
    return answered


def _kept(certificate: Certificate | None) -> list[dict[str, Any]]:
    return [dict(probe) for probe in certificate.probes] if certificate else []


def _round(every: Sequence[Certificate], now: datetime) -> int:
    """Return how often the judge was certified and that has ended: its answers of then are no evidence of now."""
    return len({one.issued_at for one in every if stale(one, now)})


def _told(material: Material) -> str:
    sizes = Counter(item.part for item in material.items)
    told = (
        f"{len(material.items):,} labelled items: {sizes[FEW_SHOT]} to show, {sizes[DEV]} dev, {sizes[SEALED]} sealed"
    )
    more = [f"{len(material.disputed)} disputed are left out"] if material.disputed else []
    more += [f"{n} left out: {why}" for why, n in material.left_out.items()]
    return " · ".join([told, *more])


def _probed(place: Place, inputs: Inputs, settings: dict[str, Any], items: Sequence[JudgedItem]) -> list[Probe]:
    say = WATCHER.get().say or (lambda _stage, _text: None)
    wrote = {one.id: one.model.full for one in inputs.experiment.candidates if one.model is not None}
    found = run_probes(
        place,
        settings["judging"],
        settings["questions"],
        labels=[item.label or None for item in items],
        models=[wrote.get(item.key.candidate) for item in items],
    )
    for probe in found:
        if probe.verdict != "not_checked":
            say("probe", f"{probe.kind}: {probe.verdict} · {probe.detail}")
    return found


def _may_be_read(item: JudgedItem, material: Material) -> bool:
    """Whether an item's disagreement may be read: a sealed one that is read tunes the judge on its test."""
    return bool(item.label) and (item.part == DEV or material.settings.verdicts is not None)


def _shown(item: JudgedItem) -> dict[str, Any]:
    return {
        "example_id": item.key.example_id,
        "candidate": item.key.candidate,
        "input": item.input,
        "output": item.output,
        "people": item.label,
        "judge": item.verdict,
        "people_critiques": list(item.critiques),
        "judge_critique": item.judge_critique,
    }


def _publish(certificate: Certificate, page: Path) -> None:
    """Create the artifacts `certificate`, `probes` and the link to the page."""
    if FlowRunContext.get() is None:
        return
    until = f"{certificate.valid_until:%Y-%m-%d}" if certificate.valid_until else "it does not age"
    told = certificate_markdown(certificate.as_json())
    create_markdown_artifact(told, key="certificate", description=f"{certificate.state}, until {until}")
    if certificate.probes:
        keys = ("kind", "verdict", "n", "events", "upper")
        rows = [{key: probe[key] for key in keys} for probe in certificate.as_json()["probes"]]
        create_table_artifact(rows, key="probes", description="probes of the judge")
    create_link_artifact(page.as_uri(), link_text="certificate of the judge", key="certificate-page")
