"""From a file or a text to an experiment, from an experiment to a changed one, and its JSON Schema."""

from __future__ import annotations

import itertools
import re
import sys
from typing import TYPE_CHECKING, Any

import yaml

from safetycatch.configuration import build, parse_mapping, read_text
from safetycatch.errors import ExperimentError, InputError
from safetycatch.experiment.checks import (
    MAX_CANDIDATES,
    check_aggregate,
    check_candidates,
    check_claim,
    check_judge,
)
from safetycatch.experiment.model import BudgetSettings, Candidate, Experiment
from safetycatch.identity import checked_name, text_sha256

if TYPE_CHECKING:
    from pathlib import Path

_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
SHORT_FORMS: dict[str, list[dict[str, Any]]] = {
    "Amount": [_TEXT, _NUMBER],
    "BudgetSettings": [_TEXT],
    "CatchSettings": [{"enum": ["refuse", "warn", "off", False]}, {"type": "object", "additionalProperties": _NUMBER}],
    "DataSettings": [_TEXT],
    "ModelName": [_TEXT],
    "Rung": [{"type": "integer", "minimum": 1}, {"const": "all"}],
    "ShotSettings": [{"const": "zero"}],
}
LATER = {
    "finetune": "name a model that is already tuned: model: {endpoint: NAME, model: …}",
    "quotas": "leave it out",
}


def load_experiment(path: Path, *, alone: bool = False) -> Experiment:
    """Return the experiment of a YAML file; `alone` as in `parse_experiment`.

    Raises: ExperimentError naming file, key path, what was found and what was expected.
    """
    return parse_experiment(read_text(path), str(path), path.stem, alone=alone)


def parse_experiment(text: str, where: str, default_name: str, *, alone: bool = False) -> Experiment:
    """Return the experiment that a YAML text says; `where` is shown in errors, `default_name` names it.

    `alone`: a claim may have one candidate, because others are made of it.
    """
    values = parse_mapping(text, where)
    if "name" not in values:
        values["name"] = re.sub(r"[^a-z0-9._-]+", "-", default_name.lower()).strip("-._")[:48] or "experiment"
    _refuse_later(values, where)
    experiment = build(Experiment, values, where, LATER)
    try:
        checked_name(experiment.name, f"{where}: name")
    except InputError as error:
        raise ExperimentError(error.found, where=error.where, expected=error.expected, fix=error.fix) from None
    column = experiment.data.split_column
    if column is not None:
        raise ExperimentError(
            "'split_column' here", where=f"{where}: data.split_column", fix=f"split: {{column: {column}}}"
        )
    experiment = _expanded(experiment, where)
    check_candidates(experiment, where)
    if experiment.aggregate is not None:
        check_aggregate(experiment, experiment.aggregate, f"{where}: aggregate")
    check_judge(experiment, where)
    check_claim(experiment, where, alone=alone)
    return experiment


def _refuse_later(values: dict[str, Any], where: str) -> None:
    for number, item in enumerate(values.get("candidates") or []) if isinstance(values.get("candidates"), list) else []:
        if isinstance(item, dict) and "finetune" in item:
            raise ExperimentError(
                "'finetune' is planned but not built yet",
                where=f"{where}: candidates[{number}].finetune",
                fix=LATER["finetune"],
            )


def _expanded(experiment: Experiment, where: str) -> Experiment:
    """Turn the grid shorthand `models x prompts x shots` into candidates."""
    grid = {"models": experiment.models, "prompts": experiment.prompts, "shots": experiment.shots}
    given = [key for key, values in grid.items() if values]
    if experiment.candidates:
        if given:
            raise ExperimentError(f"both 'candidates' and '{given[0]}'", where=where, expected="one way to say them")
        if experiment.params:
            raise ExperimentError("'params' beside 'candidates'", where=where, fix="defaults: {params: {…}}")
        return experiment
    models = experiment.models or ([experiment.defaults.model] if experiment.defaults.model else [])
    prompts = experiment.prompts or ([experiment.defaults.prompt] if experiment.defaults.prompt else [])
    shots = experiment.shots or [experiment.defaults.shots]
    if not models or not prompts:
        raise ExperimentError(
            "nothing to evaluate",
            where=where,
            expected="'candidates', or 'prompts' and 'models'",
            fix="prompts: [route.md]\n           models: [openai/gpt-4o-mini]",
        )
    cells = list(itertools.product(models, prompts, shots))
    if len(cells) > MAX_CANDIDATES:
        raise ExperimentError(f"{len(cells)} candidates", where=where, expected=f"at most {MAX_CANDIDATES}")
    params = {**experiment.defaults.params, **experiment.params}
    candidates: list[Candidate] = []
    taken: set[str] = set()
    for number, (model, prompt, shot) in enumerate(cells):
        if (model, prompt, shot) in cells[:number]:
            raise ExperimentError(
                f"{model.full} with {prompt} and {shot.name} twice", where=where, expected="distinct combinations"
            )
        parts = [_short(model.full)] if len(models) > 1 or (len(prompts) == 1 and len(shots) == 1) else []
        parts += [_short(prompt.rsplit(".", 1)[0])] if len(prompts) > 1 else []
        parts += [shot.name] if len(shots) > 1 else []
        name = _free("-".join(parts), taken)
        taken.add(name)
        candidates.append(
            Candidate(
                id=name, model=model, prompt=prompt, shots=shot, params=params, send_ids=experiment.defaults.send_ids
            )
        )
    return experiment.model_copy(update={"candidates": candidates})


def _free(name: str, taken: set[str]) -> str:
    """Return `name` cut to a usable length, numbered where another cell of the grid has it already."""
    for number in itertools.count(1):
        ending = f"-{number}" if number > 1 else ""
        found = name[: 64 - len(ending)].strip("-._") + ending
        if found not in taken:
            return found
    raise AssertionError


def _short(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.rsplit("/", 1)[-1].lower()).strip("-._") or "x"


def against(experiment: Experiment, baseline: str, where: str) -> Experiment:
    """Return the experiment with its claim against another baseline: one of its candidates, or a stored run.

    Raises: ExperimentError when the claim's own candidate is that baseline.
    """
    if experiment.claim is None:
        return experiment
    claim = experiment.claim.model_copy(update={"baseline": baseline})
    found = experiment.model_copy(update={"claim": claim})
    check_claim(found, where)
    return found


def at_most(experiment: Experiment, usd: float) -> Experiment:
    """Return the experiment with a ceiling of at most `usd` US dollars; its own smaller ceilings stay."""
    own = experiment.budget or BudgetSettings()
    ceiling = usd if own.usd is None else min(usd, own.usd)
    return experiment.model_copy(update={"budget": own.model_copy(update={"usd": ceiling})})


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the experiment file, for editors; short forms (a bare path, `$5`, `off`) included."""
    schema = Experiment.model_json_schema()
    schema["required"] = ["data"]  # the file's name is the default of `name`
    for part, forms in SHORT_FORMS.items():
        schema["$defs"][part] = {"anyOf": [*forms, schema["$defs"][part]]}
    return schema


def quick_look(data: str, prompt: str, model: str) -> str:
    """Return the YAML text of an exploring experiment made from three command-line options."""
    text = f"data: {_quoted(data)}\nprompts: [{_quoted(prompt)}]\nmodels: [{_quoted(model)}]\n"
    return f"name: look-{text_sha256(text)[:8]}\n{text}"


def _quoted(text: str) -> str:
    # JSON's quotes would let YAML fold the line and paragraph separators that file names may hold.
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=sys.maxsize).rstrip("\n")
