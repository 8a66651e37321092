"""What a run knows of its judge's errors: the newest certificate, and people's labels of answers of this very run."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from safetycatch.configuration import near_file
from safetycatch.errors import ExperimentError, UsageError
from safetycatch.identity import output_hash
from safetycatch.judge_settings import PAIRWISE, PASS
from safetycatch.judging.people import consensus
from safetycatch.judging.sealing import DEV, FEW_SHOT, ItemKey
from safetycatch.scoring.judged import JUDGE, unjudged_values
from safetycatch.store import Ref, Runs
from safetycatch.store.certificates import Certificates
from tasks.calibrate import dealt_items, item_names, read_people
from tasks.labels import labelled

if TYPE_CHECKING:
    from datetime import datetime

    from safetycatch.data.label_files import Labelled
    from safetycatch.judge_settings import JudgeSettings
    from safetycatch.judging.certificate import Certificate
    from safetycatch.store import Store
    from tasks.prepared import Prepared

MOST_CHANGED = 0.02  # share of drawn answers that may have changed since: beyond it the rest is no random draw
CERTIFICATE_FACTS = (
    "state",
    "reasons",
    "sealed",
    "overall",
    "slices",
    "people",
    "issued_at",
    "valid_until",
    "validity",
    "drift",
)


def people_of(prepared: Prepared) -> Labelled | None:
    """Return what people said of answers, as `judge.labels` names it; None without labels.

    Raises: ExperimentError when nothing is there; what `tasks.labels.labelled` raises.
    """
    settings = prepared.experiment.judge
    if settings is None or settings.labels is None:
        return None
    path = prepared.place.folder / settings.labels
    if not path.exists():
        near = near_file(path)
        raise ExperimentError(
            "no such file or label set",
            where=f"{prepared.inputs.path}: judge.labels: {settings.labels}",
            expected="labels that people gave",
            fix=os.path.relpath(near, prepared.place.folder) if near else f"safetycatch review {prepared.inputs.shown}",
        )
    return labelled(path, settings)


def judging_of(
    prepared: Prepared,
    people: Labelled | None,
    parts: dict[str, list[dict[str, Any]]],
    scores: dict[str, dict[str, Any]],
    now: datetime,
) -> dict[str, Any] | None:
    """Return, as JSON, the certificate's counts and the labels of this run's answers; None without a judge.

    `parts` are the candidates' shards of rows, `scores` their scores. A label is one of this run's answers when
    example, candidate and output are the same; only those drawn with known probability correct a rate. `known` are the
    answers that need no judge: those that fail unjudged, and those that it was shown with what people say of them.
    """
    settings = prepared.experiment.judge
    if settings is None or prepared.judging is None:
        return None
    store, key = prepared.place.open_store(), prepared.judging["key"]
    kept = Certificates(store)
    found = kept.of(key, None if people is None else item_names(people))
    newest = kept.newest(prepared.experiment.name)
    shots = prepared.judging["shots"]
    shown = {output_hash(shot["output"]) for shot in shots}
    tuned: set[ItemKey] = set()
    if people is not None and settings.verdicts is None:
        items = dealt_items(read_people(prepared.inputs), prepared.place)
        tuned = {item.key for item in items if item.part in {DEV, FEW_SHOT}}
    labels, told = _labels(store, settings, people, parts, scores, shown, tuned)
    return {
        "scale": "pairwise" if settings.scale == PAIRWISE else "rate" if settings.is_rate else "grades",
        "judge_key": key,
        "certificate": None if found is None else _facts(found, now),
        "another": None if found is not None or newest is None or newest.judge_key == key else _facts(newest, now),
        "counts": {} if found is None or found.binary is None or not settings.is_rate else {JUDGE: _counts(found)},
        "labels": labels,
        "known": _known(prepared, settings, parts),
        "replicates": prepared.experiment.runs.replicates,
        **told,
    }


def _facts(found: Certificate, now: datetime) -> dict[str, Any]:
    body = found.as_json()
    return {
        "id": found.certificate_id,
        **{name: body[name] for name in CERTIFICATE_FACTS},
        "expired": found.expired(now),
    }


def _counts(found: Certificate) -> list[float]:
    counts = found.sealed[0]
    return list(counts.effective or (counts.tp, counts.fn, counts.fp, counts.tn))


def _labels(
    store: Store,
    settings: JudgeSettings,
    people: Labelled | None,
    parts: dict[str, list[dict[str, Any]]],
    scores: dict[str, dict[str, Any]],
    shown: set[str],
    tuned: set[ItemKey],
) -> tuple[dict[str, dict[str, list[list[Any]]]], dict[str, Any]]:
    """Return the drawn labels of this run's answers by metric and candidate, and the numbers of all labels.

    Of answers `shown` to the judge with their labels its verdict says nothing, so they are left out; so are those that
    it was `tuned` on, and the others of the same label then stand for them.
    """
    if people is None:
        return {}, {"n_labels": 0, "n_here": 0, "n_drawn": 0, "n_tuned": 0, "n_disputed": 0, "changed": {}}
    rule = "median" if settings.grades else "majority"
    said = {"": consensus(people.labels, rule=rule, criteria=list(settings.criteria))}
    said |= {name: consensus(people.labels, criterion=name) for name in settings.criteria}
    chance, n_here, n_drawn, n_tuned = _chances(people), 0, 0, 0
    changed: dict[str, list[int]] = {}
    found: dict[str, dict[str, list[list[Any]]]] = {}
    for candidate, shards in parts.items():
        about = {
            key
            for by_key in said.values()
            for key in by_key
            if key.candidate == candidate and key.output_hash not in shown
        }
        ids = {key.example_id for key in about}
        if not ids:
            continue
        outputs = _outputs(store, shards, ids)
        here = {
            key: outputs[key.example_id, key.output_hash]
            for key in about
            if (key.example_id, key.output_hash) in outputs
        }
        asked = {example_id for example_id, _ in outputs}
        drawn = {key for key in about if chance.get(key) is not None and key.example_id in asked}
        n_here += len(here)
        once = {key.example_id for key in drawn}
        gone = len(once - {key.example_id for key in here})
        if gone > MOST_CHANGED * len(once):
            changed[candidate] = [gone, len(once)]
            continue
        values = _values(store, scores[candidate], ids)
        for criterion, by_key in said.items():
            metric = f"{JUDGE}.{criterion}" if criterion else JUDGE
            settled = {
                key: value
                for key in sorted(drawn & here.keys())
                if (value := _value(by_key.get(key), criterion, settings)) is not None
            }
            all_of, kept = Counter(settled.values()), Counter(v for key, v in settled.items() if key not in tuned)
            rows = [
                # Who was dealt to be tuned on was drawn among answers of one label.
                [key.example_id, values.get((metric, key.example_id, here[key])), value, chance_of * kept[value] / n]
                for key, value in settled.items()
                if key not in tuned and (chance_of := chance[key]) is not None and (n := all_of[value])
            ]
            if len(kept) < len(all_of):
                rows = []  # nobody is left to stand for the answers of one label
            if rows:
                found.setdefault(metric, {})[candidate] = rows
        n_drawn += len(drawn & here.keys())
        n_tuned += len(drawn & here.keys() & tuned)
    n_disputed = sum(label is None for label in said[""].values())
    return found, {
        "n_labels": len(said[""]),
        "n_here": n_here,
        "n_drawn": n_drawn,
        "n_tuned": n_tuned,
        "n_disputed": n_disputed,
        "changed": changed,
    }


def _known(
    prepared: Prepared, settings: JudgeSettings, parts: dict[str, list[dict[str, Any]]]
) -> dict[str, dict[str, list[list[Any]]]]:
    """Return the values of answers that need no judge, by metric and candidate: example, replicate, value."""
    found: dict[str, dict[str, list[list[Any]]]] = {}
    if settings.scale == PAIRWISE:
        return found
    store, shown, inputs = prepared.place.open_store(), dict[tuple[str, str], dict[str, float]](), dict[str, str]()
    for shot in prepared.judging["shots"] if prepared.judging else ():
        value = _value(shot["label"], shot["criterion"], settings)
        metric = f"{JUDGE}.{shot['criterion']}" if shot["criterion"] else JUDGE
        if value is not None:
            shown.setdefault((shot["input"], output_hash(shot["output"])), {})[metric] = value
    if shown:
        examples = store.read(Ref.from_dict(prepared.examples), ["example_id", "input"])
        inputs = dict(zip(examples["example_id"].to_pylist(), examples["input"].to_pylist(), strict=True))
    for candidate, shards in parts.items():
        for reference in shards:
            columns = ["example_id", "replicate", "status", *(["output"] if shown else [])]
            for row in store.read(Ref.from_dict(reference), columns).to_pylist():
                values = unjudged_values(row["status"], settings)
                if values is None and shown:
                    values = shown.get((inputs[row["example_id"]], output_hash(row["output"] or "")))
                for metric, value in (values or {}).items():
                    own = found.setdefault(metric, {}).setdefault(candidate, [])
                    own.append([row["example_id"], row["replicate"], value])
    return found


def _chances(people: Labelled) -> dict[ItemKey, float | None]:
    names = ("example_id", "candidate", "output_hash", "sampling_probability")
    return {
        ItemKey(*key): chance for *key, chance in zip(*(people.items[name].to_pylist() for name in names), strict=True)
    }


def _outputs(store: Store, shards: list[dict[str, Any]], ids: set[str]) -> dict[tuple[str, str], int]:
    """Return the first replicate that gave each output, by example and output hash."""
    found: dict[tuple[str, str], int] = {}
    wanted = pa.array(sorted(ids), pa.string())
    for reference in shards:
        table = store.read(Ref.from_dict(reference), ["example_id", "replicate", "output"])
        for row in table.filter(pc.field("example_id").isin(wanted)).to_pylist():
            found.setdefault((row["example_id"], output_hash(row["output"] or "")), row["replicate"])
    return found


def _values(store: Store, scores: dict[str, Any], ids: set[str]) -> dict[tuple[str, str, int], float]:
    """Return what the judge says, by metric, example and replicate."""
    table = store.read(Ref.from_dict(scores), ["metric", "example_id", "replicate", "value"])
    table = table.filter(pc.field("example_id").isin(pa.array(sorted(ids), pa.string())))
    return {
        (row["metric"], row["example_id"], row["replicate"]): row["value"]
        for row in table.to_pylist()
        if row["value"] is not None
    }


def _value(label: str | None, criterion: str, settings: JudgeSettings) -> float | None:
    """Return people's label as a number; None where they do not settle, or of a pair, which nothing corrects."""
    if label is None or settings.scale == PAIRWISE:
        return None
    if criterion:
        return float(label == PASS)
    return float(settings.passed(label)) if settings.is_rate else float(label)


def check_judge_of(prepared: Prepared, stored: dict[str, Any] | None) -> None:
    """Refuse a stored baseline whose answers another judge scored: a common error is what makes the two comparable.

    Raises: UsageError naming both.
    """
    if prepared.judging is None or stored is None:
        return
    run = Runs(prepared.place.open_store()).load(stored["run_id"])
    judged = run.summary["summary"].get("judged")
    if judged is None or judged["judge_key"] != prepared.judging["key"]:
        what = "no judge" if judged is None else "another judge (model, prompt, parameters or scale differ)"
        raise UsageError(
            f"{what} scored the answers of {stored['name']}",
            where="claim.baseline",
            expected="verdicts of one judge on both sides",
            fix="name the old version as a candidate of this experiment: its answers are then judged along",
        )
