"""The experiment file: data, a prompt and a model for a quick look; a claim, a budget and catches for a verdict."""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from safetycatch.aggregate import BEST, AggregateSettings, TieJudge
from safetycatch.configuration import build, nearest, parse_mapping, read_text
from safetycatch.errors import ExperimentError, InputError, UsageError
from safetycatch.identity import checked_name, fingerprint, text_sha256
from safetycatch.judge_settings import JudgeSettings  # noqa: TC001 - pydantic reads it
from safetycatch.model_name import ModelName  # noqa: TC001 - pydantic reads it
from safetycatch.settings import DataSettings, ShotSettings, SplitSettings

if TYPE_CHECKING:
    from pathlib import Path

Task = Literal["classify", "extract", "answer", "generate"]
Level = Literal["refuse", "warn", "off"]

MAX_CANDIDATES = 200
MAX_RUNGS = 10
DECIMAL = r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
DEFAULT_MAX_TOKENS = {"classify": 64}
OTHER_MAX_TOKENS = 1024
JUDGE = "judge"
EXPLORING_BUDGET = {"usd": 1.0, "calls": 2000}

# Chat-completion parameters of the OpenAI shape, and what its open servers (vLLM, llama.cpp, Ollama) add.
# Source: platform.openai.com/docs/api-reference/chat/create; docs.vllm.ai "OpenAI-compatible server".
KNOWN_PARAMS = frozenset(
    {
        "chat_template_kwargs",
        "extra_body",
        "frequency_penalty",
        "guided_choice",
        "guided_json",
        "guided_regex",
        "ignore_eos",
        "length_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "min_p",
        "min_tokens",
        "num_ctx",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "repetition_penalty",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
RESERVED_PARAMS = {
    "model": "set by 'model'",
    "messages": "made from 'prompt'",
    "n": "use runs: {replicates: N}",
    "stream": "answers are read whole",
}
# The highest cost of a call is known because these are; a server would take them from 'extra_body' as well.
CEILING_PARAMS = ("max_completion_tokens", "max_tokens")
# Metrics whose unit is not points; the user's own (module:function) may have any.
OTHER_UNITS = ("cost_", "latency_", "n_tokens_")

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


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Amount(_Part):
    """A size: absolute (`0.03`, `3 points`, `$0.01`) or relative to the baseline (`10%`)."""

    value: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    relative: bool = False

    @model_validator(mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return value
        if isinstance(value, (int, float)):
            return {"value": float(value)}
        found = re.fullmatch(rf"\s*\$?\s*({DECIMAL})\s*(points?|pts?|%|s|ms|)\s*", value)
        if found is None:
            raise ValueError("a size such as '3 points', 0.03, '10%' or '200 ms'")
        number, unit = float(found[1]), found[2]
        scale = 100 if unit.startswith(("p", "%")) else 1000 if unit == "ms" else 1
        return {"value": number / scale, "relative": unit == "%"}


class Candidate(_Part):
    """One thing to compare: a model and a prompt, the user's own function (`call`), or recorded `outputs`."""

    id: str
    prompt: str | None = None
    model: ModelName | None = None
    params: dict[str, Any] = {}
    shots: ShotSettings = ShotSettings()
    call: str | None = None
    outputs: str | None = None
    version: str | None = None
    max_cost_usd: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=False)] | None = None
    send_ids: bool = False

    @field_validator("id")
    @classmethod
    def _name(cls, value: str) -> str:
        try:
            return checked_name(value, "")
        except InputError as error:
            raise ValueError(f"{error.expected}, such as {error.fix}") from None

    @property
    def kind(self) -> Literal["model", "call", "outputs"]:
        """What answers: a model over HTTP, the user's function, or a recorded table."""
        return "call" if self.call else "outputs" if self.outputs else "model"

    @property
    def description(self) -> str:
        """One line for reports."""
        if self.kind != "model":
            return f"{self.kind} {self.call or self.outputs}"
        name = "" if self.model is None else self.model.full
        return f"{name} · {self.prompt} · {self.shots.name}"


class Defaults(_Part):
    """What every candidate has unless it says otherwise."""

    prompt: str | None = None
    model: ModelName | None = None
    params: dict[str, Any] = {}
    shots: ShotSettings = ShotSettings()
    send_ids: bool = False


class Guardrail(_Part):
    """A metric that must not get worse by more than `worse_by`."""

    metric: str
    worse_by: Amount


class Claim(_Part):
    """What is to be shown: `metric` better than `baseline` by at least `smallest_effect`, and no guardrail broken."""

    metric: str
    smallest_effect: Amount | None = None
    guardrails: list[Guardrail] = []
    baseline: str | None = None
    candidate: str | None = None
    correction: Literal["holm", "max_t"] = "holm"


class Rung(_Part):
    """A rung of the ladder: so many dev items in all (or `all`), then the best `keep` and the baseline go on."""

    items: Annotated[int, Field(ge=1)] | Literal["all"]
    keep: Annotated[int, Field(ge=1)] | Literal["all"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            value = {"items": value}
        for key, what in (("items", "dev rows"), ("keep", "challengers")):
            found = value.get(key) if isinstance(value, dict) else None
            if found is not None and found != "all" and (type(found) is not int or found < 1):
                raise ValueError(f"a number of {what} from 1, or all")
        return value

    @property
    def size(self) -> float:
        """How many items, infinity for all."""
        return math.inf if self.items == "all" else self.items


class RunSettings(_Part):
    """How calls are made: `replicates` of each, how many at once and for how long, the rungs of a race on dev."""

    replicates: Annotated[int, Field(ge=1, le=100)] = 1
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 64
    timeout_s: Annotated[int, Field(ge=1, le=3600)] = 180
    ladder: Annotated[list[Rung], Field(max_length=MAX_RUNGS)] = []

    @model_validator(mode="after")
    def _climbs(self) -> RunSettings:
        sizes = [rung.size for rung in self.ladder]
        if any(later <= earlier for earlier, later in itertools.pairwise(sizes)):
            raise ValueError("rungs that climb, such as [100, 300, all]: each holds more rows than the one before")
        return self


class BudgetSettings(_Part):
    """Ceilings of one run, of which the first one reached stops it; and the estimate above which a person is asked."""

    usd: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)] | None = None
    tokens: Annotated[int, Field(gt=0)] | None = None
    calls: Annotated[int, Field(gt=0)] | None = None
    ask_above: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=False)] | None = None

    @property
    def bounded(self) -> bool:
        """Whether any ceiling is set."""
        return not self.usd is self.tokens is self.calls is None

    @model_validator(mode="before")
    @classmethod
    def _dollars(cls, value: Any) -> Any:
        if isinstance(value, str):
            found = re.fullmatch(rf"\s*\$\s*({DECIMAL})\s*", value)
            if found is None:
                raise ValueError("a sum such as $5, or {usd: 5, tokens: 1000000, calls: 2000}")
            return {"usd": float(found[1])}
        if isinstance(value, dict):
            sums = {name: value[name] for name in ("usd", "ask_above") if isinstance(value.get(name), str)}
            read = {name: re.fullmatch(rf"\$\s*({DECIMAL})", text.strip()) for name, text in sums.items()}
            return {**value, **{name: float(found[1]) for name, found in read.items() if found}}
        if not isinstance(value, (dict, BaseModel)):
            raise ValueError("a sum such as $5, or {usd: 5, tokens: 1000000, calls: 2000}")  # noqa: TRY004 - pydantic
        return value


class PriceSettings(_Part):
    """What a model costs, US dollars per million tokens."""

    input_per_m: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=False)]
    output_per_m: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=False)]
    cached_input_per_m: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=False)] | None = None
    cache_write_per_m: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=False)] | None = None


class CatchSettings(_Part):
    """What one safety catch does when it fires, and its thresholds where they differ from the default."""

    level: Level | None = None
    thresholds: dict[str, Annotated[float, Field(allow_inf_nan=False, strict=False)]] = {}

    @model_validator(mode="before")
    @classmethod
    def _bare_level(cls, value: Any) -> Any:
        if value is False:
            return {"level": "off"}  # YAML 1.1 editors turn a bare `off` into false
        if isinstance(value, str):
            return {"level": value}
        if isinstance(value, dict) and not isinstance(value.get("thresholds"), dict):
            return {
                "level": "off" if value.get("level") is False else value.get("level"),
                "thresholds": {key: item for key, item in value.items() if key != "level"},
            }
        return value


class Experiment(_Part):
    """A whole experiment as the file says it; `load_experiment` reads one."""

    name: str
    data: DataSettings
    task: Task | None = None
    labels: list[str] | dict[str, list[str]] | None = None
    split: SplitSettings = SplitSettings()
    defaults: Defaults = Defaults()
    candidates: list[Candidate] = []
    models: list[ModelName] = []
    prompts: list[str] = []
    shots: list[ShotSettings] = []
    params: dict[str, Any] = {}
    scorers: list[str] = []
    judge: JudgeSettings | None = None
    aggregate: AggregateSettings | None = None
    claim: Claim | None = None
    runs: RunSettings = RunSettings()
    budget: BudgetSettings | None = None
    prices: dict[str, PriceSettings] = {}
    catches: dict[str, CatchSettings] = {}

    @model_validator(mode="before")
    @classmethod
    def _defaults_reach_candidates(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("candidates"), list):
            return value
        defaults = value.get("defaults")
        defaults = defaults if isinstance(defaults, dict) else {}
        return {**value, "candidates": [_with_defaults(item, defaults) for item in value["candidates"]]}

    @property
    def claiming(self) -> bool:
        """Whether the file claims something; otherwise it explores."""
        return self.claim is not None

    @property
    def baseline_is_run(self) -> bool:
        """Whether the claim is against a stored run rather than one of the candidates."""
        name = self.claim.baseline if self.claim else None
        return name is not None and name not in {candidate.id for candidate in self.candidates}

    @property
    def baseline(self) -> str:
        """The candidate that the others are compared with."""
        name = self.claim.baseline if self.claim else None
        return self.candidates[0].id if name is None or self.baseline_is_run else name

    @property
    def judge_of_ties(self) -> Candidate | None:
        """Who is asked about items on which the ensemble is tied, as a candidate that is not scored."""
        found = self.aggregate
        if found is None or not isinstance(found.tie, TieJudge):
            return None
        tie = found.tie
        return Candidate(id=f"{found.id[:60]}-tie", model=tie.model, prompt=tie.prompt, params=tie.params)

    @property
    def judges(self) -> tuple[Candidate, ...]:
        """The judge and its further jurors, as candidates that are not scored; () where nobody is asked."""
        found = self.judge
        if found is None or found.model is None:
            return ()
        first = Candidate(id=JUDGE, model=found.model, prompt=found.prompt, params=found.params)
        jurors = (
            Candidate(id=f"{JUDGE}-{number}", model=one.model, prompt=one.prompt or found.prompt, params=one.params)
            for number, one in enumerate(found.jury, 2)
        )
        return (first, *jurors)

    @property
    def label_aliases(self) -> dict[str, str]:
        """Declared aliases: `{alias: label}`."""
        if not isinstance(self.labels, dict):
            return {}
        return {alias: label for label, aliases in self.labels.items() for alias in aliases}

    def identity(self) -> str:
        """Fingerprint of what is evaluated: everything but budget, pace and the levels of catches."""
        return fingerprint(
            self.model_dump(
                mode="json", exclude={"budget": True, "catches": True, "runs": {"concurrency", "timeout_s"}}
            )
        )


def _with_defaults(item: Any, defaults: dict[str, Any]) -> Any:
    if not isinstance(item, dict) or "call" in item or "outputs" in item:
        return item
    merged = {key: defaults[key] for key in ("prompt", "model", "shots", "send_ids") if key in defaults}
    merged |= item
    if isinstance(defaults.get("params"), dict):
        own = item.get("params", {})
        merged["params"] = {**defaults["params"], **own} if isinstance(own, dict) else own
    return merged


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
    _check_candidates(experiment, where)
    if experiment.aggregate is not None:
        _check_aggregate(experiment, experiment.aggregate, f"{where}: aggregate")
    _check_judge(experiment, where)
    _check_claim(experiment, where, alone=alone)
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


def _check_candidates(experiment: Experiment, where: str) -> None:
    seen: set[str] = set()
    for number, candidate in enumerate(experiment.candidates):
        place = f"{where}: candidates[{number}]"
        if candidate.id in seen:
            raise ExperimentError(f"the candidate id {candidate.id!r} twice", where=place, expected="distinct ids")
        seen.add(candidate.id)
        if candidate.call and candidate.outputs:
            raise ExperimentError("both 'call' and 'outputs'", where=place, expected="one of them")
        if candidate.kind == "call" and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", candidate.call or ""):
            raise ExperimentError(f"found {candidate.call!r}", where=f"{place}.call", expected="module:function")
        if candidate.kind != "model" and (candidate.model or candidate.prompt or candidate.shots.k):
            raise ExperimentError(
                f"'{candidate.kind}' beside model, prompt or shots", where=place, expected="only the one that answers"
            )
        if candidate.kind == "model":
            for key in ("model", "prompt"):
                if getattr(candidate, key) is None:
                    raise ExperimentError(f"no {key!r}", where=place, expected=f"'{key}' here or under 'defaults'")
        _check_params(candidate, place)
    if len(experiment.candidates) > MAX_CANDIDATES:
        raise ExperimentError(
            f"{len(experiment.candidates)} candidates", where=where, expected=f"at most {MAX_CANDIDATES}"
        )


def _check_aggregate(experiment: Experiment, found: AggregateSettings, where: str) -> None:
    candidates = {candidate.id: candidate for candidate in experiment.candidates}
    named = [(f"members[{number}]", name) for number, name in enumerate(found.members)]
    for key, name in [*named, *([("tie", found.tie)] if isinstance(found.tie, str) and found.tie != BEST else [])]:
        known = list(candidates) if key != "tie" else found.members
        if name not in known:
            close = nearest(name, known)
            raise ExperimentError(
                f"found {name!r}",
                where=f"{where}.{key}",
                expected="one of " + ", ".join([BEST] * (key == "tie") + known),
                fix=f"did you mean {close!r}?" if close else "",
            )
    if found.id in candidates:
        raise ExperimentError(f"{found.id!r} is a candidate", where=f"{where}.id", expected="a name of its own")
    claim = experiment.claim
    if claim is not None and claim.baseline == found.id:
        raise ExperimentError(
            "the ensemble as the baseline",
            where=where.replace("aggregate", "claim.baseline"),
            expected="a candidate that answers by itself, or a stored run",
            fix=f"claim.candidate: {found.id}",
        )
    if experiment.task == "generate" or (found.rule == "dawid_skene" and experiment.task not in {None, "classify"}):
        raise no_votes(experiment.task or "", found, where)
    judge = experiment.judge_of_ties
    if judge is not None:
        _check_params(judge, f"{where}.tie")
    if found.rule != "self_consistency":
        return
    member = candidates[found.members[0]]
    if member.outputs:
        raise ExperimentError(
            f"{member.id} is recorded: it cannot be asked again",
            where=f"{where}.members[0]",
            expected="a candidate that answers",
        )
    if experiment.runs.replicates > 1:
        raise ExperimentError(
            f"{experiment.runs.replicates} replicates beside samples",
            where=f"{where}.samples",
            expected="runs: {replicates: 1}: the samples are the replicates",
        )
    if member.params.get("temperature") == 0:
        raise ExperimentError(
            f"{member.id} has temperature 0: its samples would be one answer again and again",
            where=f"{where}.samples",
            expected="a temperature above 0",
            fix="params: {temperature: 0.7}",
        )


def _check_judge(experiment: Experiment, where: str) -> None:
    judges = experiment.judges
    for number, juror in enumerate(judges):
        _check_params(juror, f"{where}: judge.jury[{number - 1}]" if number else f"{where}: judge")
    taken = {juror.id for juror in judges}.intersection(candidate.id for candidate in experiment.candidates)
    if taken:
        raise ExperimentError(
            f"a candidate called {min(taken)!r} beside a judge", where=where, expected="another name for the candidate"
        )


def no_votes(task: str, found: AggregateSettings, where: str) -> ExperimentError:
    """Return the error for a task whose answers a rule cannot count as votes."""
    if task == "generate":
        return ExperimentError(
            "free texts cannot be counted as votes", where=where, expected="task: classify, extract or answer"
        )
    return ExperimentError(
        f"rule: {found.rule} with task: {task}",
        where=f"{where}.rule",
        expected="labels: it estimates how often each is taken for each",
        fix="rule: majority",
    )


def _check_params(candidate: Candidate, place: str) -> None:
    extra = candidate.params.get("extra_body", {})
    if not isinstance(extra, dict):
        raise ExperimentError(
            f"found {extra!r}"[:120], where=f"{place}.params.extra_body", expected="keys and values of the server's own"
        )
    hidden = next((key for key in extra if key in RESERVED_PARAMS or key in CEILING_PARAMS), None)
    if hidden is not None:
        raise ExperimentError(
            f"{hidden!r} inside 'extra_body'",
            where=f"{place}.params.extra_body.{hidden}",
            expected=RESERVED_PARAMS.get(hidden, "under 'params': the highest cost of a call is known by it"),
        )
    for key in CEILING_PARAMS:
        value = candidate.params.get(key, 1)
        if type(value) is not int or value < 1:
            raise ExperimentError(
                f"found {value!r}"[:120], where=f"{place}.params.{key}", expected="a whole number from 1 up"
            )
    for key in candidate.params:
        if key in RESERVED_PARAMS:
            raise ExperimentError(
                f"the parameter {key!r}", where=f"{place}.params.{key}", expected=RESERVED_PARAMS[key]
            )
        if key not in KNOWN_PARAMS:
            close = nearest(key, KNOWN_PARAMS)
            raise ExperimentError(
                f"unknown parameter {key!r}",
                where=f"{place}.params.{key}",
                expected="a chat-completion parameter; a server's own goes under 'extra_body'",
                fix=f"did you mean {close!r}?" if close else f"extra_body: {{{key}: …}}",
            )
    try:
        json.dumps(candidate.params, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ExperimentError(f"a value without a JSON form: {error}", where=f"{place}.params") from None


def _check_claim(experiment: Experiment, where: str, *, alone: bool = False) -> None:
    claim = experiment.claim
    if claim is None:
        return
    ids = [candidate.id for candidate in experiment.candidates]
    ids += [experiment.aggregate.id] if experiment.aggregate else []
    if claim.candidate is not None and claim.candidate not in ids:
        close = nearest(claim.candidate, ids)
        raise ExperimentError(
            f"found {claim.candidate!r}",
            where=f"{where}: claim.candidate",
            expected="one of " + ", ".join(ids),
            fix=f"did you mean {close!r}?" if close else "",
        )
    if not experiment.baseline_is_run and experiment.baseline == claim.candidate:
        raise ExperimentError("the baseline is the candidate", where=f"{where}: claim", expected="two different ones")
    if len(ids) < 2 and not alone and not experiment.baseline_is_run:
        raise ExperimentError(
            "a claim with one candidate", where=where, expected="a baseline and at least one other candidate"
        )
    if claim.smallest_effect is not None:
        _check_points(claim.metric, claim.smallest_effect, f"{where}: claim.smallest_effect")
        if claim.smallest_effect.relative:
            raise ExperimentError(
                f"{100 * claim.smallest_effect.value:g}% of the baseline is not built yet",
                where=f"{where}: claim.smallest_effect",
                expected="an absolute size",
                fix=f"smallest_effect: {100 * claim.smallest_effect.value:g} points",
            )
    for number, guardrail in enumerate(claim.guardrails):
        _check_points(guardrail.metric, guardrail.worse_by, f"{where}: claim.guardrails[{number}].worse_by")
        if guardrail.metric == claim.metric:
            raise ExperimentError(
                f"the claimed metric {claim.metric!r} as its own guardrail",
                where=f"{where}: claim.guardrails[{number}]",
            )


def _check_points(metric: str, size: Amount, where: str) -> None:
    """Refuse 3 where 3 points are meant: as 300 points it would make everything EQUIVALENT."""
    if ":" not in metric and not metric.startswith(OTHER_UNITS) and not size.relative and size.value >= 1:
        raise ExperimentError(
            f"found {size.value:g}",
            where=where,
            expected="a fraction below 1, or points",
            fix=f"{where.rsplit('.', 1)[-1]}: {size.value:g} points",
        )


def against(experiment: Experiment, baseline: str, where: str) -> Experiment:
    """Return the experiment with its claim against another baseline: one of its candidates, or a stored run.

    Raises: ExperimentError when the claim's own candidate is that baseline.
    """
    if experiment.claim is None:
        return experiment
    claim = experiment.claim.model_copy(update={"baseline": baseline})
    found = experiment.model_copy(update={"claim": claim})
    _check_claim(found, where)
    return found


def at_most(experiment: Experiment, usd: float) -> Experiment:
    """Return the experiment with a ceiling of at most `usd` US dollars; its own smaller ceilings stay."""
    own = experiment.budget or BudgetSettings()
    ceiling = usd if own.usd is None else min(usd, own.usd)
    return experiment.model_copy(update={"budget": own.model_copy(update={"usd": ceiling})})


def margin_of(text: str, metric: str, where: str) -> float:
    """Return a margin as it is typed, `0.02` or `2 points`, in the metric's unit.

    Raises: UsageError for anything else; ExperimentError for 2 where 2 points are meant.
    """
    try:
        size = Amount.model_validate(text)
    except ValueError:
        size = None
    if size is None or size.relative:
        raise UsageError(f"found {text[:80]!r}", where=where, expected="0.02, or '2 points'")
    _check_points(metric, size, where)
    return size.value


def max_tokens(candidate: Candidate, task: Task) -> int:
    """Return the most tokens a reply may have: what `params` say, else 64 for classify and 1,024 otherwise."""
    for key in CEILING_PARAMS:
        if isinstance(candidate.params.get(key), int):
            return int(candidate.params[key])
    return DEFAULT_MAX_TOKENS.get(task, OTHER_MAX_TOKENS)


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
