"""The yes of a person that SC302 asks for: found in the ledger, given at the terminal, or waited for."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows.answers import answer
from flows.ladder import climb
from safetycatch.catches import Policy, judge
from safetycatch.catches.cost import budget_text, estimate_is_approved
from safetycatch.errors import ApprovalNeededError, StoppedError
from safetycatch.store.ledger import LEDGER, Approval, Ledger
from tasks.estimate import estimate_of
from tasks.session import WATCHER, ceiling

if TYPE_CHECKING:
    from safetycatch.calls import StopFlag
    from safetycatch.catches.estimate import Estimate
    from tasks.prepared import Climbed, Prepared, Ref


class NotStoredError(LookupError):
    """A stage's artifact is not there, or not whole."""


def outstanding(prepared: Prepared, *, bounded: bool = True) -> Estimate:
    """Return what the run would still pay: without the calls that the journal answers, or that a race made needless.

    `bounded`: at most what its ceiling in dollars leaves.
    """
    climbed = _raced(prepared)
    return estimate_of(prepared, climbed, _answered(prepared, climbed), bounded=bounded)


def _answered(prepared: Prepared, climbed: Climbed | None) -> dict[str, list[Ref]] | None:
    """Return the answers that judges are asked about, where all are stored; None before that, and without a judge."""
    if prepared.judging is None or (prepared.ladder is not None and climbed is None):
        return None
    try:
        return answer(replace(prepared, entries=climbed.entries) if climbed else prepared, as_stored, lambda _n: None)
    except NotStoredError:
        return None


def _raced(prepared: Prepared) -> Climbed | None:
    """Return how the race on dev ended, where it is over already; None before that, and without a ladder."""
    if prepared.ladder is None:
        return None
    try:
        return climb(prepared, prepared.ladder, as_stored)
    except NotStoredError:
        return None


def as_stored(task: Any, /, **parameters: Any) -> Ref:
    """Return a stage's artifact, computing nothing.

    Raises: NotStoredError.
    """
    found = task.cache_key_fn.found(parameters)
    if found is None:
        raise NotStoredError(task.name)
    return found.as_dict()


def approved(prepared: Prepared, policy: Policy, stop: StopFlag) -> Prepared:
    """Return `prepared` once somebody said yes to what the run would still pay, where a catch waits for that.

    Raises: ApprovalNeededError when nobody did; StoppedError; StoreError when the ledger is damaged. Nothing was sent.
    """
    waiting = next((finding for finding in prepared.findings if finding.pauses), None)
    estimate = prepared.estimate
    if waiting is None or estimate is None:
        return prepared
    budget, run_id, identity = ceiling(prepared.experiment), prepared.place.run_id, prepared.inputs.identity()
    with Ledger.open(prepared.place.open_store().root / LEDGER) as ledger:
        found = ledger.covering(run_id, identity, estimate)
        ask = WATCHER.get().ask
        if found is None and ask is not None:
            consent = ask(waiting.saw, stop)
            if stop:
                raise StoppedError("stopped before a call was made", stop.signal_number)
            if consent is not None:
                name, note = consent
                said = Approval(run_id, identity, name, note, datetime.now(UTC), budget_text(budget), estimate)
                found = ledger.approve(said)
    if found is None:
        asked = {"estimate": asdict(estimate), "ask_above": budget.ask_above, "ceiling": budget_text(budget)}
        raise ApprovalNeededError(waiting.text(), [waiting], run_id=run_id, asked=asked)
    who = f"{found.name}, {found.approved_at:%Y-%m-%d %H:%M} UTC"
    (passed,) = judge([estimate_is_approved(estimate=estimate, budget=budget, approved_by=who)], policy)
    findings = tuple(passed if finding.code == passed.code else finding for finding in prepared.findings)
    return replace(prepared, findings=findings)
