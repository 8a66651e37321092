"""`calibrate --refine`: rubrics proposed from disagreements, chosen on dev labels, shown on sealed ones, once."""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.runtime import flow_run

from flows.calibration_cost import agreed_to, planned
from flows.chain import as_task, sound_store
from flows.evaluate import Digest, ExperimentFile, error_limit, policy_of
from flows.watching import failed
from safetycatch.errors import UsageError
from safetycatch.experiment import Candidate
from safetycatch.identity import fingerprint
from safetycatch.judging.refinement import (
    MAX_RUBRIC_CHARACTERS,
    SIZES,
    Trial,
    agreement_values,
    measure,
    quoted,
    refine_messages,
    shown_disagreements,
)
from safetycatch.judging.sealing import DEV, FEW_SHOT, SEALED
from safetycatch.store.secret import judge_secret
from tasks.calibrate import call_counts, judge_labels, look_at, questions_of, read_material, record_look, with_verdicts
from tasks.calling import endpoint_name, read_table
from tasks.estimate import NOTHING, not_held
from tasks.judge import judging_entry, requests_about
from tasks.refine import REFINER, propose, requests_for, revisions
from tasks.session import WATCHER, make_importable, session
from tasks.start import read_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flows.chain import Call
    from safetycatch.catches.estimate import Estimate
    from safetycatch.judge_settings import JudgeSettings
    from safetycatch.judging.calibration import JudgedItem
    from safetycatch.judging.refinement import Round
    from safetycatch.judging.sealing import Part
    from tasks.calibrate import Looked, Material
    from tasks.stage import Place
    from tasks.start import Inputs

MAX_ROUNDS, PROPOSALS = 3, len(SIZES)
MOST_SHOTS = 8
REFINER_TOKENS = 8_192
RUN_DIGITS = 16
FEWEST_DEV = 20
# What makes a rubric one that no journal knows.
ANOTHER = "(as a revision may have it)"


class _BudgetSpentError(Exception):
    """The sealed labels were looked at as often as they may be."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A judge as it may be: a rubric, shots, where it comes from, and the judging that asks by it."""

    name: str
    rubric: str
    shots: tuple[dict[str, Any], ...]
    kind: str
    changes: str
    parent: str | None
    round: int
    judging: dict[str, Any]

    def row(self, trial: Trial | None, kept: str | None, file: str | None) -> dict[str, Any]:
        """Return the revision as a row of `revisions`."""
        d = trial.difference if trial else None
        figures = {
            name: _known(getattr(d, name)) if d is not None else None for name in ("estimate", "low", "high", "n")
        }
        return {
            "name": self.name,
            "parent": self.parent,
            "kind": self.kind,
            "round": self.round,
            "judge_key": self.judging["key"],
            "rubric": self.rubric,
            "changes": self.changes,
            "n_shots": len(self.shots),
            "agreement": _known(trial.agreement) if trial else None,
            "p_adjusted": _known(trial.p_adjusted) if trial else None,
            "kept": self.parent is None or self.name == kept,
            "file": file,
            **figures,
        }


def _run_name() -> str:
    return f"refine {Path(str(flow_run.parameters.get('experiment', ''))).stem}"


@flow(name="refine", flow_run_name=_run_name, persist_result=False, result_serializer="json")
def refine(
    experiment: ExperimentFile, digest: Digest = "", *, refiner: str | None = None, unattended: bool = True
) -> Any:
    """Revise a judge's rubric where its dev labels show a gain, and look once whether sealed labels show it too.

    Args:
        experiment: The experiment file, from the project's root, with judge: {model, prompt, labels}
        digest: The first 8 to 64 hex digits of the file's SHA-256, where only this content may run
        refiner: The model that proposes rubrics, where it is not the judge's own
        unattended: Nobody is there to be asked, so a budget must be set
    """
    try:
        return run_refinement(Path(experiment), digest, refiner=refiner, unattended=unattended, call=as_task)
    except Exception as error:  # noqa: BLE001 - raised to the caller; Prefect, which may be shared, gets no row's text
        return failed(error)


def run_refinement(
    path: Path, digest: str = "", *, refiner: str | None = None, unattended: bool = True, call: Call
) -> dict[str, Any]:
    """Return how a rubric was refined, as `calibrate --refine --json` prints it; `refiner` is another model to ask.

    Raises: UsageError for recorded verdicts, or with too few dev labels; what calibrating raises.
    """
    began = time.monotonic()
    inputs = read_inputs(path, digest, alone=True)
    settings = inputs.experiment.judge
    if settings is None or settings.model is None or settings.prompt is None:
        raise UsageError(
            "nothing to refine: no judge that reads a prompt",
            where=str(path),
            expected="judge: {model: …, prompt: judge.md, labels: …}",
        )
    policy = policy_of(inputs, {})
    store = sound_store(inputs.place(""), policy)
    make_importable((path.absolute().parent, inputs.project.root))
    material = read_material(inputs, inputs.place(""))
    dev = material.of(DEV)
    if len(dev) < FEWEST_DEV:
        raise UsageError(
            f"{len(dev)} dev labels",
            where=f"{path}: judge.labels",
            expected=f"at least {FEWEST_DEV}: fewer cannot tell a better rubric from luck",
            fix=f"safetycatch review {inputs.typed}",
        )
    judging = judging_entry(inputs)
    rubric = inputs.prompts[settings.prompt].text
    first = Revision("v1", rubric, tuple(judging["shots"]), "given", "", None, 0, judging)
    run_id = f"refine-{fingerprint(first.judging, sorted(item.key.text for item in dev))[:RUN_DIGITS]}"
    place = inputs.place(run_id, error_limit(policy))
    say = WATCHER.get().say or (lambda _stage, _text: None)
    asker = _refiner(inputs, settings, refiner)
    with session(place, inputs.experiment, inputs.project) as shared:
        secret = judge_secret(store)
        whole = _about(inputs, first, material.of(DEV, SEALED), settings)
        estimate = planned(place, inputs, material, whole, policy, probes=False, unattended=unattended)
        estimate += _rest(place, inputs, first, material, asker, secret)
        say("plan", f"refinement, whole: {estimate.text}")
        agreed_to(inputs, place, estimate, policy, option="--refine")

        def verdicts(revision: Revision, items: Sequence[JudgedItem]) -> list[JudgedItem]:
            judged = call(judge_labels, place=place, settings=_about(inputs, revision, items, settings))
            return with_verdicts(items, read_table(place, judged).to_pylist(), settings)

        parent, parent_items, tried, reason = first, verdicts(first, dev), [first.row(None, None, None)], ""
        texts = [*dev, *material.of(FEW_SHOT, SEALED)]
        known, files = {first.judging["key"]}, dict[str, str]()
        for number in range(1, MAX_ROUNDS + 1):
            children, dropped = _children(
                place, inputs, material, parent, parent_items, number, asker, secret, texts, known, call
            )
            for line in dropped:
                say("refine", line)
            judged = [(child.name, verdicts(child, dev)) for child in children]
            found = measure(parent_items, judged, settings)
            reason = f"round {number}: {found.reason}"
            say("refine", reason)
            by_name = {trial.name: trial for trial in found.trials}
            kept = found.kept.name if found.kept else None
            child = next((child for child in children if child.name == kept), None)
            wrote = {} if child is None else _write(path.parent, settings, child, parent)
            files |= wrote
            own = ", ".join(wrote.values()) or None
            tried += [one.row(by_name[one.name], kept, own if one is child else None) for one in children]
            if child is None:
                break
            parent, parent_items = child, dict(judged)[child.name]
        budget, sealed, spent_why = int(policy.threshold("SC105", "looks")), None, ""
        try:
            sealed = _sealed(place, inputs, material, first, parent, verdicts, settings, budget)
        except _BudgetSpentError as error:
            spent_why = f"keep the rubric: {error}; label new items: safetycatch review {inputs.typed}"
            say("sealed", str(error))
        if sealed is not None:
            say("sealed", sealed.reason)
        facts = {"stopped": reason, "sealed": None if sealed is None else _as_dict(sealed)}
        lineage = call(
            revisions,
            place=place,
            settings={"experiment": inputs.experiment.name, "revisions": tried, "facts": facts},
        )
        spent = shared.journal.spent(run_id)
        return {
            "experiment": inputs.experiment.name,
            "gain": sealed is not None and sealed.kept is not None,
            "revision": parent.name,
            "stopped": reason,
            "sealed": facts["sealed"],
            "revisions": tried,
            "use": spent_why or _use(inputs, files, sealed),
            "artifact": lineage["uri"] if "uri" in lineage else lineage["fingerprint"],
            "dev_agreement": _known(_mean(agreement_values(parent_items, settings))),
            "calls": call_counts(shared.counts),
            "spent_usd": None if spent.unpriced else spent.usd,
            "spent_at_least_usd": spent.usd,
            "wall_s": time.monotonic() - began,
        }


def _refiner(inputs: Inputs, settings: JudgeSettings, model: str | None) -> dict[str, Any]:
    """Return who proposes: another model where one is named, else the judge's own."""
    if model is None:
        found = settings.model
    else:
        try:
            found = Candidate.model_validate({"id": REFINER, "model": model}).model
        except ValueError:
            raise UsageError(f"found {model[:80]!r}", where="--refiner", expected="a model: provider/name") from None
    candidate = Candidate(id=REFINER, model=found)
    return {
        "candidate": candidate.model_dump(mode="json"),
        "endpoint": endpoint_name(candidate, inputs.project),
        "max_tokens": REFINER_TOKENS,
    }


def _about(inputs: Inputs, revision: Revision, items: Sequence[JudgedItem], settings: JudgeSettings) -> dict[str, Any]:
    """Return the settings of `judge_labels` for a revision."""
    return {
        "experiment": inputs.experiment.name,
        "judging": revision.judging,
        "questions": questions_of(items, settings),
    }


def _rest(
    place: Place,
    inputs: Inputs,
    first: Revision,
    material: Material,
    asker: dict[str, Any],
    secret: bytes,
) -> Estimate:
    """Return what proposals, their verdicts on dev and the last one's on the sealed labels cost at most.

    Every round with every proposal. Expected: rubrics as long as the first; at most: as long as one may be.
    """
    long = first.rubric + "\n" + "x " * (MAX_RUBRIC_CHARACTERS // 2)
    expected, highest = (
        _rounds(place, inputs, Revision("", rubric, first.shots, "", "", None, 0, {}), material, asker, secret)
        for rubric in (f"{first.rubric}\n{ANOTHER}", long)
    )
    return replace(highest, expected_usd=expected.expected_usd)


def _rounds(
    place: Place, inputs: Inputs, unknown: Revision, material: Material, asker: dict[str, Any], secret: bytes
) -> Estimate:
    """Return the estimate of all rounds with revisions like this `unknown` one, of which no journal holds a verdict."""
    settings = material.settings
    by_length = sorted(material.of(DEV), key=lambda item: len(item.input) + len(item.output), reverse=True)
    asked = [_asked(unknown.rubric, by_length[: SIZES[draw]], secret, draw) for draw in range(PROPOSALS)]
    a_round = not_held(requests_for(place, {"refiner": asker, "asked": asked}), "generate", set())
    judging = judging_entry(inputs, unknown.rubric, unknown.shots or _shots(material))

    def verdicts(part: Part) -> Estimate:
        questions, total = questions_of(material.of(part), settings), NOTHING
        for juror in judging["judges"]:
            requests = (request for request, _ in requests_about(place, judging, juror, questions))
            total += not_held(requests, "generate", set())
        return total

    on_dev = verdicts(DEV)
    for _ in range(PROPOSALS + 1):
        a_round += on_dev
    whole = verdicts(SEALED)
    for _ in range(MAX_ROUNDS):
        whole += a_round
    return whole


def _asked(rubric: str, shown: Sequence[JudgedItem], secret: bytes, draw: int) -> dict[str, Any]:
    messages, check = refine_messages(rubric, shown, secret)
    return {"draw": draw, "messages": messages, "check": check}


def _children(
    place: Place,
    inputs: Inputs,
    material: Material,
    parent: Revision,
    judged: Sequence[JudgedItem],
    number: int,
    asker: dict[str, Any],
    secret: bytes,
    texts: Sequence[JudgedItem],
    known: set[str],
    call: Call,
) -> tuple[list[Revision], list[str]]:
    """Return the revisions of a round that can be tried, and lines about those that cannot; `known` ones are not."""
    draws = [
        (draw, shown_disagreements(judged, material.settings, draw=PROPOSALS * (number - 1) + draw))
        for draw in range(PROPOSALS)
    ]
    asked = [_asked(parent.rubric, shown, secret, draw) for draw, shown in draws if shown]
    proposals: list[dict[str, Any]] = []
    if asked:
        made = call(propose, place=place, settings={"round": number, "refiner": asker, "asked": asked})
        proposals = read_table(place, made).to_pylist()
    found: list[Revision] = []
    dropped: list[str] = []

    def add(rubric: str, shots: tuple[dict[str, Any], ...], kind: str, changes: str) -> bool:
        judging = judging_entry(inputs, rubric, shots)
        if judging["key"] in known:
            return False
        known.add(judging["key"])
        name = f"v{number + 1}{chr(ord('a') + len(found))}"
        found.append(Revision(name, rubric, shots, kind, changes, parent.name, number, judging))
        return True

    for row in proposals:
        if row["rubric"] is None:
            dropped.append(f"round {number}: a proposal is left out: {row['error_class'] or row['status']}")
        elif remembered := quoted(row["rubric"], texts, before=parent.rubric):
            dropped.append(f"round {number}: a proposal is left out: it quotes {len(remembered)} labelled answers")
        elif not add(row["rubric"], parent.shots, "rubric", row["changes"] or ""):
            dropped.append(f"round {number}: a proposal is left out: nothing new")
    shots = _shots(material)
    if shots and not parent.shots:
        add(parent.rubric, shots, "shots", f"{len(shots)} labelled answers with critiques, shown before each question")
    return found, dropped


def _shots(material: Material) -> tuple[dict[str, Any], ...]:
    """Return the explained answers of the few-shot part, people's verdicts in turn; () for pairs and criteria."""
    settings = material.settings
    if settings.criteria or settings.scale == "pairwise":
        return ()
    by_label: dict[str, list[JudgedItem]] = {}
    for item in material.of(FEW_SHOT):
        if item.critiques:
            by_label.setdefault(item.label, []).append(item)
    queues = [by_label[label] for label in sorted(by_label)]
    chosen = [queue[at] for at in range(MOST_SHOTS) for queue in queues if at < len(queue)][:MOST_SHOTS]
    return tuple(
        {
            "input": item.input,
            "output": item.output,
            "reference": item.reference,
            "label": item.label,
            "critique": re.sub(r"^[^:]{1,100}: ", "", item.critiques[0]),
            "criterion": "",
        }
        for item in chosen
    )


def _sealed(
    place: Place,
    inputs: Inputs,
    material: Material,
    first: Revision,
    final: Revision,
    verdicts: Callable[[Revision, Sequence[JudgedItem]], list[JudgedItem]],
    settings: JudgeSettings,
    budget: int,
) -> Round | None:
    """Return the final revision against the first on the sealed labels, a look at each; None where dev kept nothing.

    Raises: _BudgetSpentError, and the sealed labels are not looked at, where more judges than `budget` would be.
    """
    if final is first:
        return None

    def check(looked: Looked) -> None:
        if looked.total > budget:
            raise _BudgetSpentError(
                f"{final.name} is not measured: it would be judge {looked.total} on these sealed labels, "
                f"their budget is {budget}"
            )

    sealed = material.of(SEALED)
    for revision in (first, final):
        # Before the first verdict, so that a kill cannot hide it.
        record_look(place, look_at(inputs, place, material, revision.judging["key"]), check)
    return measure(verdicts(first, sealed), [(final.name, verdicts(final, sealed))], settings, part=SEALED)


def _write(folder: Path, settings: JudgeSettings, child: Revision, parent: Revision) -> dict[str, str]:
    """Write what a kept revision changes beside the rubric, and return the files by key of `judge:`."""
    found: dict[str, str] = {}
    if child.rubric != parent.rubric:
        found["prompt"] = _version(folder, Path(settings.prompt or ""), "", child.rubric + "\n")
    if child.shots != parent.shots:
        lines = "".join(json.dumps(shot, ensure_ascii=False) + "\n" for shot in child.shots)
        found["shots"] = _version(folder, Path(settings.prompt or ""), ".shots.jsonl", lines)
    return found


def _version(folder: Path, prompt: Path, ending: str, text: str) -> str:
    """Write a text under the next free version of a file's name, never over a file; return that name."""
    stem, number = re.sub(r"\.v\d+$", "", prompt.stem), 2
    while True:
        name = prompt.with_name(f"{stem}.v{number}{ending or prompt.suffix}")
        try:
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            if (folder / name).read_text(encoding="utf-8") == text:
                return str(name)
            number += 1
        else:
            return str(name)


def _use(inputs: Inputs, files: dict[str, str], sealed: Round | None) -> str:
    """Return what to type next."""
    if sealed is None:
        return "keep the rubric: no revision showed more agreement on dev than noise would"
    if sealed.kept is None:
        return "keep the rubric: what looked better on dev is not shown on the sealed labels"
    keys = ", ".join(f"{key}: {name}" for key, name in files.items())
    return f"judge: {{{keys}}} in {inputs.path.name}, then safetycatch calibrate {inputs.typed}"


def _as_dict(found: Round) -> dict[str, Any]:
    trial = found.trials[0]
    d = trial.difference
    return {
        "agreement": _known(trial.agreement),
        "estimate": _known(d.estimate),
        "low": _known(d.low),
        "high": _known(d.high),
        "p_value": _known(d.p_value),
        "n": d.n,
        "method": d.method,
        "gain": found.kept is not None,
        "told": found.reason,
    }


def _mean(values: Any) -> float:
    known = values[~_missing(values)]
    return float(known.mean()) if len(known) else math.nan


def _missing(values: Any) -> Any:
    return values != values  # noqa: PLR0124 - NaN is the one value that is not itself


def _known(value: Any) -> Any:
    return None if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
