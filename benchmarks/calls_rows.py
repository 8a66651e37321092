"""What a row of the calls table is, and what the rows are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Figure(NamedTuple):
    """One line of the table; `ok` None: shown without a bar."""

    what: str
    figure: str
    bar: str
    ok: bool | None


@dataclass
class Options:
    """How large the rows are, and where they may write. `scale` 1 is the size that the bars are for."""

    folder: Path
    scale: float = 1.0
    rounds: int = 5
    seeds: int = 100
    peers: tuple[str, ...] = ()
    peers_in: Path | None = None
    _runs: list[int] = field(default_factory=list)

    def n(self, whole: int) -> int:
        """Return a number of calls, scaled."""
        return max(40, round(whole * self.scale))

    def fresh(self) -> Path:
        """Return a folder that nobody used."""
        self._runs.append(0)
        return self.folder / f"run{len(self._runs)}"
