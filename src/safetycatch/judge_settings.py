"""What a user may say about a judge: who grades answers, by which rubric and scale, and whose labels it answers to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from safetycatch.model_name import ModelName  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Sequence

PASS_FAIL, PAIRWISE = "pass_fail", "pairwise"
PASS, FAIL = "pass", "fail"
FIRST, SECOND, TIE = "first", "second", "tie"
MAX_GRADES, MAX_CRITERIA, MAX_JURORS = 20, 20, 9
MAX_CANARIES = 100

Text = Annotated[str, Field(min_length=1, max_length=2000)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
File = Annotated[str, Field(min_length=1, max_length=4096)]


def verdict_labels(scale: str | Sequence[int | str]) -> tuple[str, ...]:
    """Return every verdict of a scale, as text: pass_fail, pairwise, or a list of grades or classes."""
    if isinstance(scale, str):
        return (FIRST, SECOND, TIE) if scale == PAIRWISE else (PASS, FAIL)
    return tuple(str(grade) for grade in scale)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Juror(_Part):
    """A further judge; it reads the judge's own prompt unless it has one."""

    model: ModelName
    prompt: File | None = None
    params: dict[str, Any] = {}


class JudgeSettings(_Part):
    """Who grades free answers: a model with a rubric (`prompt`), a jury of several, or recorded `verdicts`.

    `scale`: pass_fail, pairwise (against the baseline), grades in ascending order, or class names. `passes` turns
    grades (the lowest that passes) or classes (those that pass) into a pass rate. `criteria` are asked one at a time,
    each pass or fail; an answer passes that passes all. `shots` are answers with a label and a critique, shown to the
    judge before each question. `labels` are what people said of answers. `untrusted`: the
    graded text may come from strangers, and may try to instruct the judge.
    """

    model: ModelName | None = None
    prompt: File | None = None
    params: dict[str, Any] = {}
    scale: (
        Literal["pass_fail", "pairwise"]
        | Annotated[list[int], Field(min_length=2, max_length=MAX_GRADES)]
        | Annotated[list[Word], Field(min_length=2, max_length=MAX_GRADES)]
    ) = "pass_fail"
    passes: int | Annotated[list[Word], Field(min_length=1)] | None = None
    criteria: Annotated[dict[Word, Text], Field(max_length=MAX_CRITERIA)] = {}
    reference: bool = False
    both_orders: bool = False
    jury: Annotated[list[Juror], Field(max_length=MAX_JURORS)] = []
    rule: Literal["majority", "all", "any", "median"] | None = None
    shots: File | None = None
    labels: File | None = None
    verdicts: File | None = None
    canaries: Annotated[int, Field(ge=0, le=MAX_CANARIES)] = 8
    untrusted: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> JudgeSettings:
        if self.verdicts is None and (self.model is None or self.prompt is None):
            raise ValueError("a model and its prompt, such as {model: openai/gpt-…, prompt: judge.md}, or 'verdicts'")
        if self.verdicts is not None and (self.model or self.prompt or self.jury or self.criteria or self.shots):
            raise ValueError("either recorded 'verdicts', or a model that is asked")
        if isinstance(self.scale, list):
            if len(set(self.scale)) < len(self.scale):
                raise ValueError("distinct grades")
            if self.grades and list(self.grades) != sorted(self.grades):
                raise ValueError("grades in ascending order, such as [1, 2, 3, 4, 5]")
        self._check_passes()
        if self.criteria and self.scale != PASS_FAIL:
            raise ValueError("'criteria' with scale: pass_fail only: each is passed or failed")
        if self.both_orders and self.scale != PAIRWISE:
            raise ValueError("'both_orders' with scale: pairwise only")
        if self.shots is not None and self.scale == PAIRWISE:
            raise ValueError("'shots' for single answers only, not with scale: pairwise")
        if self.rule is not None and not self.jury:
            raise ValueError("'rule' beside a 'jury' only")
        if self.rule == "median" and not self.grades:
            raise ValueError("rule: median with a scale of grades only")
        if self.rule in {"all", "any"} and self.scale != PASS_FAIL:
            raise ValueError("rule: all and any with scale: pass_fail only")
        return self

    def _check_passes(self) -> None:
        if isinstance(self.scale, str):
            if self.passes is not None:
                raise ValueError("'passes' with a scale of grades or classes only")
        elif self.grades:
            if self.passes is not None and self.passes not in self.grades:
                raise ValueError("'passes': the lowest grade that passes, one of the scale's")
        elif not isinstance(self.passes, list) or not set(self.passes) < set(self.scale):
            raise ValueError("'passes': the classes that pass, some of the scale's")

    @property
    def grades(self) -> tuple[int, ...]:
        """The grades of an ordinal scale; () for any other."""
        return tuple(grade for grade in self.scale if isinstance(grade, int)) if isinstance(self.scale, list) else ()

    @property
    def verdict_labels(self) -> tuple[str, ...]:
        """Every verdict a judge may give, as text."""
        return verdict_labels(self.scale)

    @property
    def is_rate(self) -> bool:
        """Whether a verdict is a pass or a fail in the end."""
        return self.scale == PASS_FAIL or self.passes is not None

    def passed(self, verdict: str) -> bool:
        """Return whether a verdict passes. Raises: ValueError where the scale has no passes or no such verdict."""
        if verdict not in self.verdict_labels or not self.is_rate:
            raise ValueError(f"{verdict!r} neither passes nor fails on this scale")
        if isinstance(self.passes, int):
            return int(verdict) >= self.passes
        return verdict == PASS if self.passes is None else verdict in self.passes
