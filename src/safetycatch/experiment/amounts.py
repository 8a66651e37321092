"""Sizes as people write them: `3 points`, `0.03`, `10%`, `200 ms`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from safetycatch.errors import ExperimentError, UsageError

DECIMAL = r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
# Metrics whose unit is not points; the user's own (module:function) may have any.
OTHER_UNITS = ("cost_", "latency_", "n_tokens_")


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
    check_points(metric, size, where)
    return size.value


def check_points(metric: str, size: Amount, where: str) -> None:
    """Refuse 3 where 3 points are meant: as 300 points it would make everything EQUIVALENT."""
    if ":" not in metric and not metric.startswith(OTHER_UNITS) and not size.relative and size.value >= 1:
        raise ExperimentError(
            f"found {size.value:g}",
            where=where,
            expected="a fraction below 1, or points",
            fix=f"{where.rsplit('.', 1)[-1]}: {size.value:g} points",
        )
