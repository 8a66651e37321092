"""What a user may say about an ensemble: its members, its rule, and who decides a tie."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from safetycatch.errors import InputError
from safetycatch.identity import checked_name
from safetycatch.model_name import ModelName  # noqa: TC001 - pydantic reads it

Rule = Literal["majority", "weighted", "dawid_skene", "self_consistency"]

BEST, DEV = "best", "dev"
MAX_MEMBERS = 50
MAX_SAMPLES = 100
# The fewest members: of two, Dawid-Skene cannot tell who of them is right.
FEWEST = {"majority": 2, "weighted": 2, "dawid_skene": 3, "self_consistency": 1}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TieJudge(_Part):
    """A model that is asked about tied items only; of a classification, the prompt's `labels` are those tied."""

    model: ModelName
    prompt: Annotated[str, Field(min_length=1, max_length=4096)]
    params: dict[str, Any] = {}


class AggregateSettings(_Part):
    """Several candidates' answers as one: `members` vote by `rule`, `tie` says who decides between equals.

    `weights` (rule: weighted) are fitted on dev, given as numbers, or taken from a stored run's scores; `samples`
    (rule: self_consistency) is the most answers that are asked of the one member.
    """

    id: str = "ensemble"
    members: Annotated[list[str], Field(min_length=1, max_length=MAX_MEMBERS)]
    rule: Rule = "majority"
    tie: str | TieJudge | None = None
    weights: str | dict[str, Annotated[float, Field(allow_inf_nan=False, strict=False)]] | None = None
    samples: Annotated[int, Field(ge=2, le=MAX_SAMPLES)] | None = None

    @field_validator("id")
    @classmethod
    def _name(cls, value: str) -> str:
        try:
            return checked_name(value, "")
        except InputError as error:
            raise ValueError(f"{error.expected}, such as {error.fix}") from None

    @model_validator(mode="after")
    def _consistent(self) -> AggregateSettings:
        if len(set(self.members)) < len(self.members):
            raise ValueError("distinct members: one vote each")
        if self.rule == "self_consistency":
            if len(self.members) != 1 or self.samples is None:
                raise ValueError("one member and the samples to ask of it, such as {members: [a], samples: 5}")
            if self.tie == BEST:
                raise ValueError("tie: {model: …, prompt: …}, or no tie: one member's samples have no best among them")
        elif self.samples is not None:
            raise ValueError("'samples' with rule: self_consistency only")
        if len(self.members) < FEWEST[self.rule]:
            raise ValueError(f"{FEWEST[self.rule]} members or more for rule: {self.rule}")
        if self.weights is not None and self.rule != "weighted":
            raise ValueError("'weights' with rule: weighted only")
        if isinstance(self.weights, dict) and set(self.weights) != set(self.members):
            raise ValueError("one weight for each member and nobody else")
        for name, weight in self.weights.items() if isinstance(self.weights, dict) else ():
            if weight < 0:
                raise ValueError(f"weights above 0: with {weight:g}, {name!r} would vote against its own answers")
            if not weight:
                raise ValueError(f"weights above 0: with 0, {name!r} never counts; leave it out of members and weights")
        return self

    @property
    def fits_dev(self) -> bool:
        """Whether weights are fitted on dev."""
        return self.rule == "weighted" and (self.weights is None or self.weights == DEV)

    @property
    def weights_run(self) -> str | None:
        """The stored run that weights are fitted on."""
        return self.weights if isinstance(self.weights, str) and self.weights != DEV else None

    @property
    def asks_best(self) -> bool:
        """Whether the best member on dev decides a tie, which is the default where several members vote."""
        return self.rule != "self_consistency" and (self.tie is None or self.tie == BEST)

    @property
    def description(self) -> str:
        """One line for reports."""
        who = f"{self.samples} samples of {self.members[0]}" if self.samples else ", ".join(self.members)
        return f"{self.rule.replace('_', ' ')} of {who}"
