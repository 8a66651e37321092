"""The name of a model: a LiteLLM name, or a named endpoint's."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ModelName(BaseModel):
    """A model: a LiteLLM name (`openai/gpt-4o-mini`), `sandbox/…`, or a named OpenAI-compatible endpoint's."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    endpoint: str | None = None
    model: Annotated[str, Field(min_length=1, max_length=300)]

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _provider(self) -> ModelName:
        if self.endpoint is None and not re.fullmatch(r"[a-z0-9_]+/\S+", self.model):
            raise ValueError("a model is 'provider/name', such as openai/gpt-4o-mini, or {endpoint: NAME, model: name}")
        if self.endpoint is not None and not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", self.endpoint):
            raise ValueError("an endpoint's name: lower case letters, digits, '-' or '_'")
        if self.endpoint == "sandbox":
            raise ValueError("another endpoint's name: 'sandbox' is the embedded server, such as model: sandbox/tiny")
        return self

    @property
    def full(self) -> str:
        """`provider/model` or `endpoint/model`: the name used for prices and in reports."""
        return self.model if self.endpoint is None else f"{self.endpoint}/{self.model}"
