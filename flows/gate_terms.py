"""What a gate asks for: which baseline, by how much worse at most, for how much money at most."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flows.beyond import Measured
from flows.reference import newest_run
from safetycatch.errors import UsageError
from safetycatch.experiment import against, at_most, margin_of
from safetycatch.store import Runs

if TYPE_CHECKING:
    from flows.chain import Call
    from safetycatch.experiment import Experiment
    from safetycatch.store import StoredRun
    from tasks.prepared import Climbed, Prepared, Ref
    from tasks.start import Inputs

BASELINE, LAST = "baseline", "last"
NO_CLAIM = "claim: {metric: accuracy, smallest_effect: 3 points}\nbudget: $5"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a gate asks for, as typed: against whom, by how much worse at most, for how much money at most."""

    against: str = BASELINE
    noninferior: str = ""
    max_usd: float | None = None

    def inputs(self, inputs: Inputs) -> Inputs:
        """Return the experiment with its claim against the gate's baseline.

        Raises: UsageError without a claim, a margin, or a baseline that is there.
        """
        where, claim = str(inputs.path), inputs.experiment.claim
        if claim is None:
            raise UsageError(
                "a gate needs a claim: the metric, and what may be spent on it",
                where=where,
                expected="claim and budget",
                fix=NO_CLAIM.replace("accuracy", (inputs.experiment.scorers or ["accuracy"])[0]),
            )
        self.margin(inputs)
        experiment = inputs.experiment
        typed = (claim.baseline or "") if self.against == BASELINE else self.against
        if experiment.aggregate is not None and typed == experiment.aggregate.id:
            raise UsageError(
                f"{typed!r} is the experiment's ensemble, which is no baseline of its own run",
                where=f"{where}: --against",
                expected=f"{', '.join(candidate.id for candidate in experiment.candidates)}, or a stored run",
                fix=f"--against RUN:{typed}, its answers in a finished run",
            )
        if typed and typed not in {candidate.id for candidate in experiment.candidates}:
            experiment = _claimed(experiment)
            typed = _resolved(inputs, experiment, typed)
        if typed:
            experiment = against(experiment, typed, f"{where}: --against")
        if self.max_usd is not None:
            experiment = at_most(experiment, self.max_usd)
        options = ["--against", self.against]
        options += ["--noninferior", self.noninferior] if self.noninferior else []
        return replace(inputs, experiment=experiment, verb="gate", options=tuple(options))

    def margin(self, inputs: Inputs) -> float:
        """Return how much worse the candidate may be, in the metric's unit: as typed, else the smallest effect."""
        claim = inputs.experiment.claim
        if self.noninferior and claim is not None:
            return margin_of(self.noninferior, claim.metric, "--noninferior")
        if claim is None or claim.smallest_effect is None:
            raise UsageError(
                "no margin: neither --noninferior nor claim.smallest_effect", fix="--noninferior '2 points'"
            )
        return claim.smallest_effect.value

    def going(self, prepared: Prepared, climbed: Climbed) -> Climbed:  # noqa: ARG002 - the protocol's
        """Return the race's end as it is."""
        return climbed

    def measured(
        self,
        prepared: Prepared,  # noqa: ARG002 - the protocol's
        climbed: Climbed | None,  # noqa: ARG002
        parts: dict[str, list[Ref]],  # noqa: ARG002
        call: Call,  # noqa: ARG002
    ) -> Measured:
        """Measure nothing beyond the verdict."""
        return Measured()


def _claimed(experiment: Experiment) -> Experiment:
    """Return the experiment with its only candidate beside the baseline named: against a run, it stays the one."""
    others = [candidate.id for candidate in experiment.candidates if candidate.id != experiment.baseline]
    claim = experiment.claim
    if claim is None or claim.candidate is not None or experiment.baseline_is_run or len(others) != 1:
        return experiment
    return experiment.model_copy(update={"claim": claim.model_copy(update={"candidate": others[0]})})


def _resolved(inputs: Inputs, experiment: Experiment, typed: str) -> str:
    """Return `RUN:candidate` of a stored run that is there, the candidate being the claim's where none is typed.

    Raises: UsageError when there is no such run, or it leaves a choice.
    """
    name, _, candidate = typed.partition(":")
    runs = Runs(inputs.place("").open_store())
    found = _newest(runs, inputs) if name == LAST else runs.load(name)
    if found.status != "done":
        raise UsageError(f"run {found.run_id} is {found.status}: it has no scores", where="--against")
    held = [row["id"] for row in found.summary["result"]["candidates"] if row["status"] == "scored"]
    own = experiment.claim.candidate if experiment.claim else None
    wanted = candidate or own or (held[0] if len(held) == 1 else "")
    if wanted not in held:
        raise UsageError(
            f"run {found.run_id} has no candidate {wanted!r}" if wanted else "which of its candidates is not said",
            where=f"--against {typed}",
            expected=", ".join(held),
            fix=f"--against {found.run_id}:{held[0]}" if held else "",
        )
    return f"{found.run_id}:{wanted}"


def _newest(runs: Runs, inputs: Inputs) -> StoredRun:
    """Return the newest finished `run` of an experiment, no gate.

    Raises: UsageError when there is none.
    """
    name = inputs.experiment.name
    found = newest_run(runs, name)
    if found is None:
        raise UsageError(
            f"no finished run of {name} is stored yet",
            where="--against last",
            expected="a run to compare with (gates do not count)",
            fix=f"safetycatch run {inputs.shown}   (with the version that is in use)",
        )
    return found
