"""The pages in docs/ name every key, scorer and parameter, with the default that the code has."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from safetycatch import aggregate, judge_settings, project, settings
from safetycatch import experiment as e
from safetycatch.calls.prices import USER_FIELDS
from safetycatch.catches import CATCHES
from safetycatch.errors import ExperimentError
from safetycatch.scoring import SCORERS

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "experiment.md").read_text(encoding="utf-8")
SECTIONS = {
    "The file": e.Experiment,
    "`data`": settings.DataSettings,
    "`split`": settings.SplitSettings,
    "`candidates`": e.Candidate,
    "`defaults`": e.Defaults,
    "`model`": e.ModelName,
    "`shots`": settings.ShotSettings,
    "`judge`": judge_settings.JudgeSettings,
    "`jury`": judge_settings.Juror,
    "`aggregate`": aggregate.AggregateSettings,
    "`tie`": aggregate.TieJudge,
    "`claim`": e.Claim,
    "`guardrails`": e.Guardrail,
    "`runs`": e.RunSettings,
    "`ladder`": e.Rung,
    "`budget`": e.BudgetSettings,
    "`prices`": e.PriceSettings,
    "`catches`": e.CatchSettings,
    "The project file": project.ProjectSettings,
    "`endpoints`": project.EndpointSettings,
}
SIZE = e.Amount  # written as `3 points`, never as keys


def models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for argument in getattr(annotation, "__args__", ()):
        yield from models_in(argument)


def shown_default(model, name):
    field = model.model_fields[name]
    if (model, name) == (e.Experiment, "name"):
        return "the file's name"
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, settings.ShotSettings):
        return f"`{value.name}`"
    if isinstance(value, BaseModel):
        return f"see `{name}`"
    if value is None or value in ([], {}):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_every_group_of_keys_has_a_section():
    assert {*models_in(e.Experiment), *models_in(project.ProjectSettings)} == {*SECTIONS.values(), SIZE}


@pytest.mark.parametrize(("title", "model"), SECTIONS.items())
def test_every_key_is_explained_with_its_default(title, model):
    (section,) = re.findall(rf"^##+ {re.escape(title)}$(.*?)(?=^##|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert section is not None
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| \S[^|]* \|$", section, flags=re.MULTILINE)
    assert dict(rows) == {name: shown_default(model, name) for name in model.model_fields}
    assert [name for name, _ in rows] == list(model.model_fields)


def test_every_scorer_parameter_and_planned_key_is_named():
    named = set(re.findall(r"`([\w.]+)`", PAGE))
    assert set(SCORERS) - named == set()
    assert e.KNOWN_PARAMS - named == set()
    assert set(e.LATER) - named == set()
    assert set(e.PriceSettings.model_fields) <= USER_FIELDS


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_the_experiments_shown_are_valid(page):
    shown = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for text in shown:
        if text.startswith(("endpoints:", "store:")):
            continue  # a project file
        e.parse_experiment(text, page.name, "shown")


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_catch_named_is_built(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"SC\d{3,4}", text)) <= set(CATCHES)


def test_a_split_column_below_data_is_refused_rather_than_ignored():
    with pytest.raises(ExperimentError, match=r"split: \{column: fold\}"):
        e.parse_experiment("data: {path: a.csv, split_column: fold}\nprompts: [p.md]\nmodels: [a/b]", "x.yaml", "x")
