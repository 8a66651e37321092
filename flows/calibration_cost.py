"""What a calibration or a check for drift would still cost, and the yes that it waits for before the first call."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from safetycatch.catches import judge, refuse
from safetycatch.catches.cost import budget_is_set, estimate_is_approved, price_is_known
from safetycatch.errors import ApprovalNeededError, StoppedError
from tasks.estimate import NOTHING, not_held
from tasks.judge import requests_about
from tasks.probes import probe_estimate
from tasks.session import WATCHER, ceiling, current

if TYPE_CHECKING:
    from safetycatch.catches import Policy
    from safetycatch.catches.estimate import Estimate
    from tasks.calibrate import Material
    from tasks.stage import Place
    from tasks.start import Inputs


def planned(
    place: Place,
    inputs: Inputs,
    material: Material,
    settings: dict[str, Any],
    policy: Policy,
    *,
    probes: bool,
    unattended: bool,
    probed: bool = False,
) -> Estimate:
    """Return what the questions in `settings`, and the `probes` of them, would still cost at most.

    `probed`: they were probed before, so that with every verdict in the journal nothing is left to ask.
    Raises: RefusedError where no budget bounds it.
    """
    say = WATCHER.get().say or (lambda _stage, _text: None)
    judging, asked = settings["judging"], set[str]()
    estimate = NOTHING
    unknown: list[str] = []
    for juror in judging["judges"]:
        requests = (request for request, _ in requests_about(place, judging, juror, settings["questions"]))
        one = not_held(requests, "generate", asked)
        if one.highest_usd is None:
            unknown.append(juror["candidate"]["id"])
        estimate += one
    sends = material.settings.verdicts is None
    budget = inputs.experiment.budget
    refuse(
        judge(
            [
                budget_is_set(budget=budget, sends=sends, claiming=inputs.experiment.claiming, unattended=unattended),
                price_is_known(unknown=unknown, budget=ceiling(inputs.experiment)),
            ],
            policy,
        )
    )
    if not sends:
        say("plan", "recorded verdicts: 0 calls, $0.00")
        return estimate
    say("plan", f"verdicts: {estimate.text}")
    if not probes or (probed and not estimate.n_calls):
        return estimate
    more = probe_estimate(place, judging, settings["questions"], asked)
    say("plan", f"probes: {more.text} (--no-probes leaves them out)")
    return estimate + more


def agreed_to(inputs: Inputs, place: Place, estimate: Estimate, policy: Policy, *, option: str = "") -> None:
    """Wait for a yes where more than `ask_above` would be paid; `option` is what the command was typed with.

    Raises: ApprovalNeededError when nobody gives it; StoppedError. Nothing was sent.
    """
    budget = ceiling(inputs.experiment)
    left = None if budget.usd is None else max(0.0, budget.usd - current().journal.spent(place.run_id).usd)
    (finding,) = judge([estimate_is_approved(estimate=estimate.under(left), budget=budget)], policy)
    if not finding.pauses:
        return
    ask, stop = WATCHER.get().ask, current().stop
    consent = ask(finding.saw, stop) if ask is not None else None
    if stop:
        raise StoppedError("stopped before a call was made", stop.signal_number)
    if consent is None:
        command = " ".join(["safetycatch calibrate", inputs.typed, *option.split(), "--yes --as NAME"])
        waits = replace(finding, fix=f"{command}   (approves it), or a higher ask_above")
        raise ApprovalNeededError(
            waits.text(), [waits], run_id=place.run_id, asked={"estimate": asdict(estimate), "command": command}
        )
