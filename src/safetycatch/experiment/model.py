"""What an experiment says, as frozen objects; unknown keys are refused."""

from __future__ import annotations

import itertools
import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from safetycatch.aggregate import AggregateSettings, TieJudge
from safetycatch.errors import InputError
from safetycatch.experiment.amounts import DECIMAL, Amount
from safetycatch.experiment.parameters import CEILING_PARAMS
from safetycatch.identity import checked_name, fingerprint
from safetycatch.judge_settings import JudgeSettings  # noqa: TC001 - pydantic reads it
from safetycatch.model_name import ModelName  # noqa: TC001 - pydantic reads it
from safetycatch.settings import DataSettings, ShotSettings, SplitSettings

Task = Literal["classify", "extract", "answer", "generate"]
Level = Literal["refuse", "warn", "off"]

MAX_RUNGS = 10
DEFAULT_MAX_TOKENS = {"classify": 64}
OTHER_MAX_TOKENS = 1024
JUDGE = "judge"
EXPLORING_BUDGET = {"usd": 1.0, "calls": 2000}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


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


def max_tokens(candidate: Candidate, task: Task) -> int:
    """Return the most tokens a reply may have: what `params` say, else 64 for classify and 1,024 otherwise."""
    for key in CEILING_PARAMS:
        if isinstance(candidate.params.get(key), int):
            return int(candidate.params[key])
    return DEFAULT_MAX_TOKENS.get(task, OTHER_MAX_TOKENS)
