"""Which examples each query is shown: none, one seeded balanced set, or the nearest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

MAX_SHOTS = 256
DEFAULT_SEED = 7


class ShotSettings(BaseModel):
    """How many shots and how they are chosen; `k` is 0 for `zero` and 1-256 otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    select: Literal["zero", "static", "knn"] = "zero"
    k: Annotated[int, Field(ge=0, le=MAX_SHOTS)] = 0
    seed: int = DEFAULT_SEED

    @model_validator(mode="after")
    def _consistent(self) -> ShotSettings:
        if (self.select == "zero") != (self.k == 0):
            raise ValueError("`zero` takes no k" if self.select == "zero" else f"`{self.select}` needs k: 1-{MAX_SHOTS}")
        return self

    @property
    def name(self) -> str:
        """The strategy's short name: `zero`, `static8`, `knn8`, `static8-seed11`."""
        seed = "" if self.seed == DEFAULT_SEED or self.select == "zero" else f"-seed{self.seed}"
        return self.select + (f"{self.k}" if self.k else "") + seed


def select(
    pool: pa.Table, queries: pa.Table, settings: ShotSettings, *, clusters: Mapping[str, str] | None = None
) -> pa.Table:
    """Return the `shots` of every query; `clusters` maps example_id to cluster_id."""
    raise NotImplementedError
