"""Foot gun 11: nobody looked, nobody answers for it (SC11xx)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.catches.finding import Observation

if TYPE_CHECKING:
    from safetycatch.catches.finding import Policy

HASH_SHOWN = 12


def promotion_is_approved(
    *, run_id: str, candidate: str, verdict: str, report_sha256: str, approved_by: str = "", voided: str = ""
) -> Observation:
    """SC1101: somebody with a name saw this report and said that the candidate may go out.

    `approved_by` is who and when; `voided` says what an earlier approval was of, where that is not this report.
    """
    seen = f"{candidate} of {run_id}, verdict {verdict}, report {report_sha256[:HASH_SHOWN]}"
    if approved_by:
        return Observation("SC1101", "passed", f"{seen} · approved by {approved_by}")
    return Observation(
        "SC1101",
        "fired",
        f"{seen} · nobody has approved it{f' ({voided})' if voided else ''}",
        "what goes to production has nobody who read its report",
        f"read it (safetycatch report {run_id}), then: safetycatch approve {run_id} --promotion"
        f" --candidate {candidate} --as NAME",
        {"run_id": run_id, "candidate": candidate, "report_sha256": report_sha256},
    )


def failures_were_read(
    *, run_id: str, winner: str | None, n_failing: int | None, n_read: int, policy: Policy
) -> Observation:
    """SC1102: people labelled some of the rows that the claimed winner fails on, or all where there are few.

    `winner` is None where the verdict favours nobody; `n_failing` is None where rows are neither right nor wrong.
    """
    if winner is None:
        return Observation("SC1102", "not_applicable", "no winner is claimed")
    if n_failing is None:
        return Observation("SC1102", "not_checked", f"the metric does not say which rows {winner} fails on")
    wanted = min(int(policy.threshold("SC1102", "failures")), n_failing)
    saw = f"{n_read:,} of the {n_failing:,} failures of {winner} have a label of a person"
    if n_read >= wanted:
        return Observation("SC1102", "passed", saw if n_failing else f"{winner} fails on no row")
    return Observation(
        "SC1102",
        "fired",
        f"{saw}, {wanted:,} are wanted",
        "a score does not say what goes wrong: the failures that remain may be the ones that cost most",
        f"safetycatch review {run_id} --candidate {winner}",
        {"winner": winner, "n_failing": n_failing, "n_read": n_read, "wanted": wanted},
    )
