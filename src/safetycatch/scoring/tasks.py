"""What kind of task a data set is, and the scorers that go with it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from safetycatch.errors import ExperimentError
from safetycatch.scoring.json_fields import json_fields
from safetycatch.scoring.parsing import parse_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

Task = Literal["classify", "extract", "answer", "generate"]

MAX_LABELS = 1000
MAX_LABEL_CHARACTERS = 80
MIN_ROWS_A_LABEL = 3  # on average
MIN_REPEATED = 0.9  # share of rows whose target another row has too
MAX_NUMBER_LABELS = 20  # more different numbers are answers, not grades


class InferredTask(NamedTuple):
    """A task and, for people, why it was taken for that."""

    task: Task
    reason: str


def infer_task(examples: pa.Table) -> InferredTask:
    """Return the task that the targets of `examples` look like.

    No targets: generate. JSON objects: extract. Short texts that keep coming back (3 rows each on average, 90 % of rows
    with a target that occurs twice; up to 20 different numbers): classify. Anything else: answer.
    """
    targets = [str(target) for target in examples["target"].to_pylist()]
    counts = Counter(targets)
    n, distinct = len(targets), len(counts)
    if not any(target.strip() for target in counts):
        return InferredTask("generate", "there are no targets")
    if all(target.lstrip().startswith("{") and json_fields().parse(target) is not None for target in counts):
        return InferredTask("extract", f"all {n} targets are JSON objects")
    repeated = sum(count for count in counts.values() if count > 1)
    short = all(len(target) <= MAX_LABEL_CHARACTERS and "\n" not in target.strip() for target in counts)
    numbers = all(_is_number(target) for target in counts)
    recurring = distinct <= MAX_LABELS and n >= MIN_ROWS_A_LABEL * distinct and repeated >= MIN_REPEATED * n
    if short and recurring and distinct > 1 and not (numbers and distinct > MAX_NUMBER_LABELS):
        return InferredTask("classify", f"{distinct} different targets recur over {n} rows")
    kind = "numbers" if numbers else "texts"
    return InferredTask("answer", f"{distinct} different {kind} as targets of {n} rows")


def _is_number(text: str) -> bool:
    return text.strip().lstrip("-+$")[:1].isdigit() and len(text.split()) == 1 and parse_number(text) is not None


def default_scorers(task: str, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a task's scorers, the headline one first; the others are shown beside it.

    Raises: ExperimentError for `generate`, where only the user can say what is good, and for an unknown task.
    """
    if task == "classify":
        return ("accuracy", "macro_f1", "balanced_accuracy")
    if task == "extract":
        return ("json_fields",)
    if task == "answer":
        return ("numeric",) if targets and all(_is_number(target) for target in targets) else ("normalised",)
    if task == "generate":
        raise ExperimentError(
            "task: generate has no scorer of its own",
            where="scorers",
            fix='judge: {model: …, prompt: judge.md}, or scorers: ["my_module:my_function"]',
        )
    raise ExperimentError(f"unknown task {task!r}", where="task", expected=", ".join(get_args(Task)))
