"""What a gate says on a pull request, in about twenty lines of Markdown.

The first lines are ours alone: no text from data, models or reasons can say PASSED, make a link or mention anybody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from safetycatch.report import numbers
from safetycatch.report.escaping import markdown_prose, markdown_safe
from safetycatch.report.selection import beside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEADS = {
    "passed": "✓ gate passed",
    "failed": "▼ gate FAILED",
    "inconclusive": "? gate INCONCLUSIVE",
}
STOPPED = "✕ gate did not decide"
UNITS = {"points": "proportion"}
MAX_CANDIDATES, MAX_OVERRIDES, MAX_TEXT, MAX_COMMAND = 8, 5, 400, 600
MAX_MESSAGE_LINES = 12
MARKER = "<!-- safetycatch-gate: "


def marker(name: str) -> str:
    """Return the first line of every comment about one experiment, by which an older one is found and replaced."""
    return f"{MARKER}{re.sub(r'[^A-Za-z0-9._]+', '-', name)[:64]} -->"


def gate_comment(name: str, gate: Mapping[str, Any]) -> str:
    """Return the comment for a gate's outcome as `safetycatch gate --json` prints it; `name` is the experiment's."""
    lines = [
        marker(name),
        f"### {HEADS[gate['gate']]}: {markdown_safe(name, 64)}",
        "",
        markdown_prose(gate["sentence"], MAX_TEXT),
        "",
        *_overrides(gate["overrides"]),
        *_table(gate),
        *_facts(gate),
        "",
        f"run {markdown_safe(gate['run_id'])}",
    ]
    return "\n".join(lines) + "\n"


def stopped_comment(name: str, message: Sequence[str], command: str, exit_code: int) -> str:
    """Return the comment for a gate that ended before it could decide: refused, out of budget, provider gone."""
    shown = [f"> {markdown_safe(line, MAX_TEXT)}" for line in message[:MAX_MESSAGE_LINES] if line.strip()]
    if len(message) > MAX_MESSAGE_LINES:
        shown.append(f"> and {len(message) - MAX_MESSAGE_LINES:,} more lines in the log")
    lines = [
        marker(name),
        f"### {STOPPED}: {markdown_safe(name, 64)}",
        "",
        f"It ended with exit code {exit_code} before there was anything to decide on. This is not a pass.",
        "",
        "\n>\n".join(shown),
        "",
        f"- Reproduce: {markdown_safe(command, MAX_COMMAND)}",
    ]
    return "\n".join(lines) + "\n"


def unfinished_comment(name: str) -> str:
    """Return what the comment's file says until the gate has ended, and after it was killed."""
    return f"{marker(name)}\n### {STOPPED}: {markdown_safe(name, 64)}\n\nIt did not end. This is not a pass.\n"


def _overrides(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"> **{markdown_prose(row['code'])} overridden**, because {markdown_safe(row['reason'] or '')}"
        for row in rows[:MAX_OVERRIDES]
    ]
    if len(rows) > MAX_OVERRIDES:
        lines.append(f"> and {len(rows) - MAX_OVERRIDES:,} more overrides")
    return ["\n>\n".join(lines), ""] if lines else []


def _unit(gate: Mapping[str, Any]) -> str:
    return UNITS.get(gate["unit"]) or str(gate["unit"])


def _table(gate: Mapping[str, Any]) -> list[str]:
    unit = _unit(gate)
    lines = [
        f"| candidate | {markdown_prose(gate['metric'])}, 95 % interval | n | cost |",
        "|---|---:|---:|---:|",
    ]
    scored = [row for row in gate["candidates"] if row["status"] in {"scored", "stored"}]
    for row in scored[:MAX_CANDIDATES]:
        value = beside(numbers.shown(row["estimate"], row["low"], row["high"], unit).text, row.get("beside", ""))
        n = numbers.count(row["n"]) + (f" ({row['n_missing']:,} missing)" if row["n_missing"] else "")
        role = {gate["candidate"]: " (candidate)", gate["against"]: " (baseline)"}.get(row["id"], "")
        cells = (markdown_prose(cell) for cell in (value, n, numbers.money(row["cost_usd"])))
        lines.append(f"| {markdown_safe(row['id'], 96)}{role} | {' | '.join(cells)} |")
    if len(scored) > MAX_CANDIDATES:
        lines += ["", f"and {len(scored) - MAX_CANDIDATES:,} more candidates in the report"]
    return [*lines, ""]


def _facts(gate: Mapping[str, Any]) -> list[str]:
    unit = _unit(gate)
    difference = numbers.shown(gate["estimate"], gate["low"], gate["high"], unit, difference=True).text
    difference = beside(difference, gate.get("beside", ""))
    margin = numbers.effect(gate["margin"], unit)
    clusters = f" in {gate['n_clusters']:,} clusters" if gate["n_clusters"] < gate["n"] else ""
    missing = f", {gate['n_missing']:,} missing" if gate["n_missing"] else ""
    shown = f"- Difference: {markdown_prose(difference)} (95 %), n = {gate['n']:,}{clusters}{missing}; "
    lines = [shown + f"margin {markdown_prose(margin)}, from {gate['margin_from']}"]
    lines += [
        f"- Guardrail {markdown_safe(rail['metric'], 64)}: {rail['status']}, {markdown_prose(rail['reason'], MAX_TEXT)}"
        for rail in gate["guardrails"]
    ]
    lines += [f"- Judge: {markdown_prose(line, MAX_TEXT)}" for line in (gate.get("judged") or {}).get("told", ())]
    if gate["settle"]:
        lines.append(f"- {markdown_prose(gate['settle'][0].upper() + gate['settle'][1:])}")
    if gate["looks_note"]:
        lines.append(f"- {markdown_prose(gate['looks_note'])}")
    if gate["flips"]:
        lines.append(f"- Flips: {gate['flips']['fixed']:,} fixed, {gate['flips']['broken']:,} broken")
    fired = [row["code"] for row in gate["findings"] if row["status"] == "fired"]
    passed = sum(row["status"] == "passed" for row in gate["findings"])
    lines.append(f"- Catches: {passed} passed" + (f"; warnings: {', '.join(fired)}" if fired else ""))
    calls, spent = gate["calls"], numbers.spent(gate["spent_usd"], gate.get("spent_at_least_usd"))
    lines.append(
        f"- Spent: {markdown_prose(spent)}, {calls['sent']:,} calls sent, {calls['from_journal']:,} from the journal"
    )
    lines.append(f"- Reproduce: {markdown_safe(gate['command'], MAX_COMMAND)}")
    return lines
