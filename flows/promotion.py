"""The yes of a person that SC1101 asks for before a candidate goes out, and what SC1102 says of its failures."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.compute as pc

from flows.pin import finished
from safetycatch.catches import Finding, Policy, judge
from safetycatch.catches.catalogue import checked_settings
from safetycatch.catches.oversight import failures_were_read, promotion_is_approved
from safetycatch.errors import ApprovalNeededError, SafetycatchError, UsageError
from safetycatch.experiment import Experiment
from safetycatch.identity import output_hash
from safetycatch.results.pin import winner
from safetycatch.store.label_sets import LABELS, SET
from safetycatch.store.ledger import LEDGER
from safetycatch.store.promotions import Promotion, Promotions
from tasks.labels import labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from safetycatch.project import Project
    from safetycatch.store import StoredRun
    from safetycatch.store.ledger import Consent

    Ask = Callable[[str], Consent | None]

REPORT = "report.html"
RIGHT = 0.5  # a row's score from which on it is right, where scores are shares
ANSWERED = "answer"


class Seen(NamedTuple):
    """What a person approves: a candidate of a run, the verdict in a word and in a sentence, the report's hash."""

    run_id: str
    identity: str
    candidate: str
    chosen_by: str
    verdict: str
    sentence: str
    report_sha256: str

    @property
    def text(self) -> str:
        """What is shown to whoever is asked."""
        word = "" if self.chosen_by == "verdict" else " (named: the verdict does not favour it)"
        return f"{self.candidate}{word} of {self.run_id} · {self.verdict} · {self.sentence}"

    def covered_by(self, promotion: Promotion) -> bool:
        """Return whether a stored promotion is a yes to this."""
        return promotion.covers(self.run_id, self.identity, self.candidate, self.report_sha256)


@dataclass(frozen=True, slots=True)
class Decided:
    """What may go out: who approved it (None where no catch asked for it), and what the catches say."""

    seen: Seen
    promotion: Promotion | None
    findings: tuple[Finding, ...]


def seen_of(run: StoredRun, named: str | None) -> Seen:
    """Return what somebody who approves the promotion of a run's winner, or of the candidate `named`, has to look at.

    Raises: UsageError for a run that is not done, or that favours nobody while nobody is named; StoreError when its
    report was altered.
    """
    result, summary, _ = finished(run)
    candidate, chosen_by = winner(result, summary, named)
    scored = [row["id"] for row in result["candidates"]]
    if candidate not in scored:
        raise UsageError(
            f"no candidate {candidate[:80]!r}", where=f"run {run.run_id}", expected=f"one of {', '.join(scored)}"
        )
    run.text(REPORT)  # verified: what was changed since is not what the run reported
    sha256 = run.manifest["files"][REPORT]["sha256"]
    return Seen(
        run.run_id,
        run.identity,
        candidate,
        chosen_by,
        str(result["verdict"]),
        str(result["banner"]["sentence"]),
        sha256,
    )


def record(root: Path, seen: Seen, consent: Consent) -> Promotion:
    """Store a yes in the ledger of the store at `root`, and return the one in force: the first to the same.

    Raises: StoreError when it could not be committed.
    """
    mine = Promotion(
        seen.run_id,
        seen.identity,
        seen.candidate,
        seen.report_sha256,
        seen.verdict,
        consent.name,
        consent.note,
        datetime.now(UTC),
    )
    with Promotions.open(root / LEDGER) as promotions:
        return promotions.approve(mine)


def covering(root: Path, seen: Seen) -> tuple[Promotion | None, str]:
    """Return the yes to exactly this, and what an earlier yes of the run was to, where that is something else.

    Raises: StoreError when the ledger cannot be read.
    """
    if not (root / LEDGER).exists():
        return None, ""
    with Promotions.open(root / LEDGER) as promotions:
        found = promotions.of(seen.run_id)
    return next((one for one in found if seen.covered_by(one)), None), _voided(found, seen)


def _voided(found: list[Promotion], seen: Seen) -> str:
    other_report = [one for one in found if one.candidate == seen.candidate]
    if other_report:
        one = other_report[-1]
        return f"{one.who} approved report {one.report_sha256[:12]}, which is another one"
    return f"{found[-1].who} approved {found[-1].candidate}" if found else ""


def decided(
    run: StoredRun,
    project: Project,
    named: str | None,
    *,
    ask: Ask | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Decided:
    """Return whether a candidate may go out: approved in the ledger, or by whoever `ask` asks now.

    Raises: as `seen_of`; ApprovalNeededError when whoever is asked does not say yes.
    """
    seen, policy = seen_of(run, named), policy_of(run, project, overrides or {})
    promotion, voided = covering(project.store_root, seen)
    observed = _observed(seen, promotion, voided)
    waiting = promotion is None and policy.finding(observed).status == "fired"
    if waiting and ask is not None:
        consent = ask(seen.text)
        if consent is None:
            raise ApprovalNeededError(
                f"nobody said yes to {seen.candidate} of {seen.run_id}: nothing was promoted", run_id=seen.run_id
            )
        promotion = record(project.store_root, seen, consent)
        observed = _observed(seen, promotion, "")
    findings = judge([observed, failures_read(run, project, seen, policy)], policy)
    return Decided(seen, promotion, findings)


def policy_of(run: StoredRun, project: Project, overrides: Mapping[str, str]) -> Policy:
    """Return the catch settings in force for what comes after a run: the project's, then the experiment's."""
    experiment = Experiment.model_validate(run.manifest["config"])
    settings = {**project.settings.catches, **experiment.catches}
    checked_settings(settings, f"run {run.run_id}")
    return Policy(claiming=run.summary["result"]["mode"] != "exploring", settings=settings, overrides=overrides)


def _observed(seen: Seen, promotion: Promotion | None, voided: str) -> Any:
    return promotion_is_approved(
        run_id=seen.run_id,
        candidate=seen.candidate,
        verdict=seen.verdict,
        report_sha256=seen.report_sha256,
        approved_by=promotion.who if promotion else "",
        voided=voided,
    )


# -- what people read of its failures --------------------------------------------------------------------------------


def failures_read(run: StoredRun, project: Project, seen: Seen, policy: Policy) -> Any:
    """Return SC1102's observation: how many of the failures of a claimed winner carry a label of a person."""
    if seen.chosen_by != "verdict":
        return failures_were_read(run_id=seen.run_id, winner=None, n_failing=None, n_read=0, policy=policy)
    failing = _failing(run, seen.candidate)
    read = _labelled(run, project) & failing if failing else set[tuple[str, str]]()
    return failures_were_read(
        run_id=seen.run_id,
        winner=seen.candidate,
        n_failing=None if failing is None else len(failing),
        n_read=len(read),
        policy=policy,
    )


def _failing(run: StoredRun, candidate: str) -> set[tuple[str, str]] | None:
    """Return the answers of a candidate that are wrong, by example and hash; None where rows are not right or wrong."""
    metric = run.summary["summary"]["metric"]
    scores = run.table("scores", ["candidate", "example_id", "replicate", "metric", "value"])
    own = scores.filter(pc.field("candidate") == candidate)
    names = [metric["name"], "accuracy"]
    table = next((t for name in names if (t := own.filter(pc.field("metric") == name)).num_rows), None)
    if table is None or not metric["higher_is_better"]:
        return None
    values = [value for value in table["value"].to_pylist() if value is not None]
    if not values or min(values) < 0 or max(values) > 1:
        return None
    wrong = table.filter(pc.field("value") < RIGHT)
    places = set(zip(wrong["example_id"].to_pylist(), wrong["replicate"].to_pylist(), strict=True))
    rows = run.table("rows", ["candidate", "example_id", "replicate", "status", "output"])
    answered = rows.filter((pc.field("candidate") == candidate) & (pc.field("status") == ANSWERED))
    return {
        (row["example_id"], output_hash(row["output"] or ""))
        for row in answered.to_pylist()
        if (row["example_id"], row["replicate"]) in places
    }


def _labelled(run: StoredRun, project: Project) -> set[tuple[str, str]]:
    """Return the answers that a person labelled, in the label sets of the project and where `judge.labels` names them.

    What cannot be read counts for nothing here; whoever opens it is told.
    """
    sets = (*project.root.glob(f"{LABELS}/*/{SET}"), *project.root.glob(f"*/{LABELS}/*/{SET}"))
    found: set[tuple[str, str]] = set()
    for path in dict.fromkeys([*(settings.parent for settings in sets), *_named(run, project)]):
        with suppress(SafetycatchError, OSError):
            labels = labelled(path).labels
            found |= set(zip(labels["example_id"].to_pylist(), labels["output_hash"].to_pylist(), strict=True))
    return found


def _named(run: StoredRun, project: Project) -> list[Path]:
    """Return where `judge.labels` of a run's experiment lies, seen from the file that its command names."""
    judge = Experiment.model_validate(run.manifest["config"]).judge
    if judge is None or judge.labels is None:
        return []
    words = (project.root / word for word in shlex.split(str(run.summary.get("command") or ""))[2:])
    return [word.parent / judge.labels for word in words if word.is_file()]


def only_recorded(run: StoredRun, candidate: str) -> str:
    """Return the file that a candidate's answers were recorded in, "" where safetycatch asked for them itself."""
    candidates = Experiment.model_validate(run.manifest["config"]).candidates
    return next((one.outputs or "" for one in candidates if one.id == candidate), "")
