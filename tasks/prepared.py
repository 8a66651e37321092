"""Everything that is known about a run before its first call is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetycatch.identity import fingerprint
from safetycatch.tables import with_ids
from tasks.calling import read_table

if TYPE_CHECKING:
    from safetycatch.catches import Finding
    from safetycatch.experiment import Experiment
    from tasks.stage import Place
    from tasks.start import Inputs

Ref = dict[str, Any]
ITEM = ("example_id", "input", "target")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The references, settings and findings of a run that is ready to send."""

    place: Place
    inputs: Inputs
    examples: Ref
    splits: Ref
    leaks: Ref
    plan: Ref
    pool: Ref | None
    shots: tuple[Ref, ...]
    scored_split: str
    ids: tuple[str, ...]
    n_available: int
    task: str
    task_reason: str
    labels: tuple[str, ...]
    scorers: tuple[str, ...]
    entries: tuple[dict[str, Any], ...]
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def experiment(self) -> Experiment:
        """The experiment."""
        return self.inputs.experiment

    def items_key(self) -> str:
        """Fingerprint of the scored items and their content: runs that share it competed on the same ground."""
        table = with_ids(read_table(self.place, self.examples), self.ids)
        return fingerprint(sorted(zip(*(table[name].to_pylist() for name in ITEM), strict=True)))

    def candidate_keys(self) -> list[str]:
        """Fingerprints of what was tried: a changed prompt or function is another candidate."""
        own = ("candidate", "prompt_text", "source_sha256", "endpoint", "max_tokens")
        return [fingerprint({name: entry[name] for name in own}) for entry in self.entries]
