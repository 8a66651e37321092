"""Turning replies into numbers: parsers, scorers, and the metrics that need the whole set."""

from safetycatch.scoring.majority import Majority, MetricFacts, majority_share, metric_facts
from safetycatch.scoring.parsing import parse_answer, parse_json, parse_label, parse_normalised, parse_number
from safetycatch.scoring.registry import SCORERS, contributions, scorer
from safetycatch.scoring.resources import RESOURCE_SCORERS, quantile_contributions
from safetycatch.scoring.scorer import RowValues, Scorer, row_values
from safetycatch.scoring.scores import Outcomes, count_outcomes, parse_rows, score_rows
from safetycatch.scoring.tasks import InferredTask, Task, default_scorers, infer_task

__all__ = [
    "RESOURCE_SCORERS",
    "SCORERS",
    "InferredTask",
    "Majority",
    "MetricFacts",
    "Outcomes",
    "RowValues",
    "Scorer",
    "Task",
    "contributions",
    "count_outcomes",
    "default_scorers",
    "infer_task",
    "majority_share",
    "metric_facts",
    "parse_answer",
    "parse_json",
    "parse_label",
    "parse_normalised",
    "parse_number",
    "parse_rows",
    "quantile_contributions",
    "row_values",
    "score_rows",
    "scorer",
]
