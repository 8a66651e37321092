"""Turning replies into numbers: parsers, scorers, and the metrics that need the whole set."""

from safetycatch.scoring.majority import Majority, majority_share
from safetycatch.scoring.parsing import parse_answer, parse_json, parse_label, parse_normalised, parse_number
from safetycatch.scoring.registry import SCORERS, check_scorer, contributions, reading, scorer
from safetycatch.scoring.resources import RESOURCE_SCORERS, RESOURCE_UNITS, quantile_contributions
from safetycatch.scoring.scorer import RowValues, Scorer, row_values
from safetycatch.scoring.tasks import InferredTask, Task, default_scorers, infer_task

__all__ = [
    "RESOURCE_SCORERS",
    "RESOURCE_UNITS",
    "SCORERS",
    "InferredTask",
    "Majority",
    "RowValues",
    "Scorer",
    "Task",
    "check_scorer",
    "contributions",
    "default_scorers",
    "infer_task",
    "majority_share",
    "parse_answer",
    "parse_json",
    "parse_label",
    "parse_normalised",
    "parse_number",
    "quantile_contributions",
    "reading",
    "row_values",
    "scorer",
]
