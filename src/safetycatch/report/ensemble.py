"""The ensemble in a report: its members, what their errors share, ties and who decided them, gain against cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.report import escaping, numbers
from safetycatch.report.layout import Block, Fold, Prose, Section, folded, grid, heads
from safetycatch.report.selection import beside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from safetycatch.report.content import CandidateRow, ReportContent

UNITS = {"points": "proportion"}


def ensemble(content: ReportContent) -> Section | None:
    """Return the section of the run's ensemble; None without one."""
    facts = content.ensemble
    if facts is None:
        return None
    blocks: list[Block] = [Prose(line) for line in told(facts)]
    blocks.append(_members(content, facts))
    if facts["pairs"]:
        pairs: list[tuple[str | Markup, ...]] = [
            (pair["left"], pair["right"], numbers.plain(pair["phi"], 2)) for pair in facts["pairs"]
        ]
        blocks.append(grid("Errors of two members", heads("member", "member", "#phi"), pairs, css="narrow"))
    ties: list[tuple[str | Markup, ...]] = [
        (by, numbers.count(n), numbers.share(n, facts["n"])) for by, n in facts["ties"].items()
    ]
    if ties:
        blocks.append(grid("Ties", heads("decided by", "#rows", "#of all"), ties, css="narrow"))
        blocks.append(Fold("Tied rows", (_tied(facts),)))
    blocks.extend(Prose(line, quiet=True) for line in _notes(facts))
    return Section("ensemble", "Ensemble", tuple(blocks))


def told(facts: Mapping[str, Any]) -> list[str]:
    """Return what the vote was worth, in words: gain against cost, and what the members' errors share."""
    unit = UNITS.get(facts["unit"]) or str(facts["unit"])
    lines: list[str] = []
    if facts["best"] is None or facts["gain"] is None:
        lines.append(f"Gain over the best member: not measured, because {facts['no_interval'] or 'no score is there'}.")
    else:
        gain = numbers.shown(facts["gain"], facts["low"], facts["high"], unit, difference=True).text
        gain = beside(gain, _raw(facts, unit))
        chosen = f", the best member on {facts['chosen_on']}" if facts["chosen_on"] else ""
        none = f" ({facts['no_interval']})" if facts["no_interval"] else ""
        added = facts["added_usd_per_1000"]
        cost = "at a price that is not known" if added is None else f"for {numbers.money(added)} more for 1,000 rows"
        lines.append(f"{gain}{none} over {facts['best']}{chosen}, n = {facts['n_paired']:,}, {cost}.")
    if facts["rho"] is None:
        lines.append(f"Error correlation: not measured, because {facts['no_rho']}.")
    else:
        worth = facts["effective_voters"]
        voters = "" if worth is None else f": {facts['n_voters']} voters are worth {worth:.1f} independent ones"
        lines.append(f"Error correlation {facts['rho']:.2f} (mean phi over pairs of members){voters}.")
    return lines


def _raw(facts: Mapping[str, Any], unit: str) -> str:
    """Return what stands beside a gain that a judge measured; empty beside any other."""
    found = facts.get("judged")
    if found is None:
        return ""
    if not found["method"]:
        return "by the judge's own verdicts, uncorrected"
    raw = numbers.shown(found["raw"], found["raw_low"], found["raw_high"], unit, difference=True)
    return "corrected for the judge's errors" + ("" if found["raw"] is None else f", raw {raw.value}")


def _members(content: ReportContent, facts: Mapping[str, Any]) -> Block:
    scored: dict[str, CandidateRow] = {row.id: row for row in content.candidates}
    rows: list[tuple[str | Markup, ...]] = []
    for name in (*facts["members"], facts["id"]):
        row, weights = scored.get(name), [fold[name] for fold in facts["weights"] or () if name in fold]
        score = numbers.ABSENT if row is None else numbers.shown(row.estimate, row.low, row.high, content.unit).text
        span = sorted({f"{weight:.2f}" for weight in (min(weights), max(weights))}) if weights else []
        rows.append(
            (
                name,
                score,
                " to ".join(span) or numbers.ABSENT,
                numbers.count(facts["missing_votes"].get(name)),
                numbers.money(row.cost_usd_per_1000) if row else numbers.ABSENT,
                numbers.seconds(row.latency_p95_s) if row else numbers.ABSENT,
            )
        )
    columns = heads("member", "#score", "#weight", "#rows without its vote", "#$ per 1,000", "#p95")
    return grid(f"{facts['rule'].replace('_', ' ')}: the members, then the ensemble", columns, rows)


def _tied(facts: Mapping[str, Any]) -> Any:
    rows: list[tuple[str | Markup, ...]] = [
        (
            escaping.html(one["example_id"]),
            folded(" | ".join(one["tied"])),
            numbers.ABSENT if one["label"] is None else folded(one["label"]),
            one["by"],
        )
        for one in facts["tied"]
    ]
    return grid("Tied rows, how each was decided", heads("item", "~tied", "~decided", "by"), rows, "the run's JSON")


def _notes(facts: Mapping[str, Any]) -> list[str]:
    notes: list[str] = []
    if facts["n_folds"]:
        notes.append(
            f"Weights and ties are cross-fitted over {facts['n_folds']} folds of whole clusters: no row informs its "
            "own vote."
        )
    if facts["n_dev"]:
        fit = numbers.spent(facts["fit_usd"])
        notes.append(f"Weights, ties and the best member come from {facts['n_dev']:,} dev rows ({fit} once).")
    if facts["n_judged"]:
        share = numbers.share(facts["n_judged"], facts["n_decided"])
        notes.append(f"A judge was asked about {facts['n_judged']:,} tied rows, {share} of the decided ones.")
    if facts["samples"]:
        most = facts["n"] * (facts["samples"] - 1)
        notes.append(
            f"{facts['n_asked']:,} further samples were asked, of at most {most:,}: asking stops once nothing changes."
        )
    if facts["n_nobody"]:
        notes.append(f"On {facts['n_nobody']:,} rows nobody's vote could be read.")
    if facts["n_unvoted"]:
        notes.append(f"On {facts['n_unvoted']:,} rows Dawid-Skene decided for a label that no member gave the row.")
    if facts["model"] and not facts["model"]["converged"]:
        notes.append(f"Dawid-Skene did not converge in {facts['model']['n_rounds']:,} rounds.")
    return notes
