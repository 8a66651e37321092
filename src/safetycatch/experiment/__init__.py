"""The experiment file: data, a prompt and a model for a quick look; a claim, a budget and catches for a verdict."""

from safetycatch.experiment.amounts import OTHER_UNITS, Amount, margin_of
from safetycatch.experiment.checks import no_votes
from safetycatch.experiment.model import (
    EXPLORING_BUDGET,
    JUDGE,
    BudgetSettings,
    Candidate,
    CatchSettings,
    Claim,
    Defaults,
    Experiment,
    Guardrail,
    PriceSettings,
    Rung,
    RunSettings,
    Task,
    max_tokens,
)
from safetycatch.experiment.parameters import KNOWN_PARAMS
from safetycatch.experiment.reading import (
    LATER,
    against,
    at_most,
    json_schema,
    load_experiment,
    parse_experiment,
    quick_look,
)
from safetycatch.model_name import ModelName

__all__ = [
    "EXPLORING_BUDGET",
    "JUDGE",
    "KNOWN_PARAMS",
    "LATER",
    "OTHER_UNITS",
    "Amount",
    "BudgetSettings",
    "Candidate",
    "CatchSettings",
    "Claim",
    "Defaults",
    "Experiment",
    "Guardrail",
    "ModelName",
    "PriceSettings",
    "RunSettings",
    "Rung",
    "Task",
    "against",
    "at_most",
    "json_schema",
    "load_experiment",
    "margin_of",
    "max_tokens",
    "no_votes",
    "parse_experiment",
    "quick_look",
]
