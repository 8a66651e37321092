"""What a user may say about data, splits, leaks and shots; unknown keys are refused."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Name = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=False)]
Retrieval = Literal["knn", "bm25", "mmr"]
DEFAULT_BALANCE = 0.7


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataSettings(_Settings):
    """Where the rows are and which columns mean what; a bare path reads columns `input` and `target`.

    `target: None` is for tasks without an expected answer. Several `group` columns are joined: rows that share the
    value of any of them belong together.
    """

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    id: Name | None = None
    input: Name | Annotated[list[Name], Field(min_length=1)] | Annotated[dict[Name, Name], Field(min_length=1)] = (
        "input"
    )
    target: Name | Annotated[list[Name], Field(min_length=1)] | None = "target"
    group: Name | Annotated[list[Name], Field(min_length=1)] | None = None
    time: Name | None = None
    slices: list[Name] = []
    split_column: Name | None = None
    pool: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    max_file_mb: Annotated[int, Field(gt=0)] = 2048

    @model_validator(mode="before")
    @classmethod
    def _bare_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @property
    def input_columns(self) -> dict[str, str]:
        """The template name of each input column, in order: `{name: column}`."""
        if isinstance(self.input, str):
            return {self.input: self.input}
        return dict(self.input) if isinstance(self.input, dict) else {name: name for name in self.input}

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The columns of the expected answer; empty without one."""
        return _names(self.target)

    @property
    def group_columns(self) -> tuple[str, ...]:
        """The columns whose values must not cross a split."""
        return _names(self.group)


def _names(value: str | list[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


class SplitSettings(_Settings):
    """How rows are divided: shares of train, dev and test that sum to 1, or the `column` that says it.

    With any share given, a missing one is 0 (`{test: 1}`: all rows). Without shares and column: train (the pool) 20 %
    and at most 200 rows, dev 20 %, the rest test. `by: time` cuts by `data.time`, oldest rows in train.
    """

    train: Share | None = None
    dev: Share | None = None
    test: Share | None = None
    seed: int = 7
    column: Name | None = None
    by: Literal["hash", "time"] = "hash"

    @model_validator(mode="after")
    def _consistent(self) -> SplitSettings:
        given = [share for share in (self.train, self.dev, self.test) if share is not None]
        if self.column is not None and (given or self.by == "time"):
            raise ValueError("give either shares or `column`, not both")
        if given and not math.isclose(sum(given), 1, abs_tol=1e-6):
            raise ValueError(f"the shares sum to {sum(given):g}, not to 1")
        return self

    @property
    def shares(self) -> dict[str, float] | None:
        """The shares `{train, dev, test}` as given; None when the defaults or a column decide."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return None if all(share is None for share in given.values()) else {k: v or 0.0 for k, v in given.items()}


class LeakSettings(_Settings):
    """Thresholds of the leak search, all Jaccard or containment of character 5-gram sets, 0-1."""

    near: Annotated[float, Field(ge=0.5, le=1, strict=False)] = 0.8
    similar: Annotated[float, Field(ge=0.3, le=1, strict=False)] = 0.6
    prompt: Annotated[float, Field(ge=0.5, le=1, strict=False)] = 0.8

    @model_validator(mode="after")
    def _ordered(self) -> LeakSettings:
        if self.similar > self.near:
            raise ValueError(f"similar ({self.similar:g}) is above near ({self.near:g})")
        return self


class ShotSettings(_Settings):
    """Which examples go into the prompt: none, `k` fixed ones, or `k` that depend on the row.

    Fixed: `static` (label-balanced), `random`, `diverse` (cover the pool), `bootstrapped` (balanced among `sample` pool
    rows that the model itself answers right). By row: `knn`, `bm25`, `mmr` (near but unlike each other: `balance` 1
    looks at nearness alone), `hybrid` (`core` static ones, then the rest by `tail`). `order` is the seed of another
    order of the same examples.
    """

    select: Literal["zero", "static", "random", "diverse", "bootstrapped", "knn", "bm25", "mmr", "hybrid"] = "zero"
    k: Annotated[int, Field(ge=0, le=256)] = 0
    seed: int = 7
    order: int | None = None
    balance: Share | None = None
    core: Annotated[int, Field(ge=1, le=255)] | None = None
    tail: Retrieval | None = None
    sample: Annotated[int, Field(ge=1, le=2000)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "zero":
            raise ValueError(f"{value!r}: say how many, such as {{select: {value}, k: 8}}")
        return {"select": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> ShotSettings:
        if self.select == "zero" and self.k:
            raise ValueError("`select: zero` shows no examples; leave `k` out")
        if self.select != "zero" and not self.k:
            raise ValueError(f"`select: {self.select}` needs `k`, the number of examples")
        needs = {
            "order": (self.k > 1, "two examples or more"),
            "balance": (self.retrieval == "mmr", "`select: mmr`, or `select: hybrid` with `tail: mmr`"),
            "core": (self.select == "hybrid", "`select: hybrid`"),
            "tail": (self.select == "hybrid", "`select: hybrid`"),
            "sample": (self.select == "bootstrapped", "`select: bootstrapped`"),
        }
        for key, (fits, expected) in needs.items():
            if getattr(self, key) is not None and not fits:
                raise ValueError(f"`{key}` is for {expected}")
        if self.select == "hybrid" and not 0 < self.n_core < self.k:
            raise ValueError(f"`select: hybrid` shows {self.n_core} fixed of {self.k}: give `core` from 1 to k - 1")
        if self.sample is not None and self.sample < self.k:
            raise ValueError(f"`sample: {self.sample}` rows cannot give {self.k} examples")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, default: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Options that are not given leave no trace: what was stored before they existed keeps its name.
        written: dict[str, Any] = default(self)
        return {key: value for key, value in written.items() if value is not None}

    @property
    def retrieval(self) -> Retrieval | None:
        """How the examples that depend on the row are found; None when none do."""
        if self.select == "hybrid":
            return self.tail or "knn"
        return self.select if self.select in ("knn", "bm25", "mmr") else None

    @property
    def n_core(self) -> int:
        """How many of the examples are the same for all rows."""
        if self.select == "hybrid":
            return self.k // 2 if self.core is None else self.core
        return 0 if self.retrieval else self.k

    @property
    def weight(self) -> float:
        """The weight of nearness against likeness to what is shown already, 0-1."""
        return DEFAULT_BALANCE if self.balance is None else self.balance

    @property
    def n_sampled(self) -> int:
        """How many pool rows the model is asked about before it is shown those that it answers right."""
        return min(8 * self.k, max(200, 2 * self.k)) if self.sample is None else self.sample

    @property
    def name(self) -> str:
        """A short name, such as `static8`."""
        if self.select == "zero":
            return "zero"
        parts = [f"{self.select}{self.k}"]
        if self.select == "hybrid" and self.n_core != self.k // 2:
            parts.append(f"core{self.n_core}")
        if self.select == "hybrid" and self.retrieval != "knn":
            parts.append(str(self.retrieval))
        if self.retrieval == "mmr" and self.weight != DEFAULT_BALANCE:
            parts.append(f"balance{self.weight:g}")
        if self.sample is not None:
            parts.append(f"sample{self.sample}")
        if self.seed != 7:
            parts.append(f"seed{self.seed}")
        if self.order is not None:
            parts.append(f"order{self.order}")
        return "-".join(parts)
