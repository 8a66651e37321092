"""What an evaluation may do beyond its verdict: other inputs, who else goes on from the race, what else is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flows.chain import Call
    from safetycatch.catches import Observation, Policy
    from tasks.prepared import Climbed, Prepared, Ref
    from tasks.start import Inputs


def _nothing(_policy: Policy) -> Iterable[Observation]:
    return ()


class Measured(NamedTuple):
    """What was measured beyond the verdict: the replies it took, facts for the report, and what catches saw."""

    parts: tuple[Ref, ...] = ()
    bench: dict[str, Any] | None = None
    observations: Callable[[Policy], Iterable[Observation]] = _nothing


class Beyond(Protocol):
    """An evaluation that is more than a verdict."""

    def inputs(self, inputs: Inputs) -> Inputs:
        """Return what is evaluated instead of what the file says."""
        ...

    def going(self, prepared: Prepared, climbed: Climbed) -> Climbed:
        """Return the end of the race with those who are measured to the end besides; `prepared` holds all who raced."""
        ...

    def measured(
        self, prepared: Prepared, climbed: Climbed | None, parts: dict[str, list[Ref]], call: Call
    ) -> Measured:
        """Measure what is still wanted, once `parts` are answered."""
        ...
