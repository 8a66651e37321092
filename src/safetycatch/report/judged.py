"""Judged scores in words: the corrected figure, the raw one beside it, and what the correction rests on.

Used wherever a judged number is told: at the terminal, in Markdown, at a gate and in the report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.report import numbers
from safetycatch.report.content import measured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JUDGE = "judge"
NOBODY = "nobody checked this judge against people"
UNCALIBRATED = f"uncalibrated: {NOBODY}"
METHODS = {
    "post_stratified": "post-stratified over its verdicts",
    "ppi": "prediction-powered (PPI++)",
    "labels_only": "from the labels alone",
    "rogan_gladen": "by Rogan and Gladen",
    "common_error": "raw difference over J, the judge's errors in the interval",
    "labels_on_both": "difference of post-stratified rates",
}
FEW_GAIN = 1.1  # SC107's default: labels that are worth no more than this each gain nothing from the judge
MAX_SHOWN = 5


def unit_of(facts: Mapping[str, Any], metric: str) -> str:
    """Return the unit of a judged metric as reports call it."""
    return "score" if facts["scale"] == "grades" and metric == JUDGE else "proportion"


def mark(facts: Mapping[str, Any], row: Mapping[str, Any], *, difference: bool = False) -> str:
    """Return what stands beside a judged figure: the raw one where it is corrected, else that it is not."""
    if not row["method"] and row.get("withheld"):
        return "withheld"
    if not row["method"]:
        return "uncalibrated" if facts["certificate"] is None and facts["scale"] != "pairwise" else "uncorrected"
    if measured(row["raw"]) is None:
        return "raw withheld"
    unit = unit_of(facts, row["metric"])
    return f"raw {numbers.shown(row['raw'], row['raw_low'], row['raw_high'], unit, difference=difference).value}"


def rate_of(facts: Mapping[str, Any], candidate: str, metric: str, where: str = "all") -> Mapping[str, Any] | None:
    """Return the facts of one candidate's judged figure, over all rows or a slice; None where it has none."""
    wanted = (candidate, metric, where)
    rows = (row for row in facts["rates"] if (row["candidate"], row["metric"], row["slice"]) == wanted)
    return next(rows, None)


def difference_of(
    facts: Mapping[str, Any], baseline: str, candidate: str, metric: str, where: str = "all"
) -> Mapping[str, Any] | None:
    """Return the facts of one judged difference, over all rows or a slice; None where there is none."""
    wanted = (baseline, candidate, metric, where)
    keys = ("baseline", "candidate", "metric", "slice")
    return next((row for row in facts["differences"] if tuple(row[key] for key in keys) == wanted), None)


def told(facts: Mapping[str, Any], file: str) -> list[str]:
    """Return what judged scores are worth in a few lines: method, figures, assumption, gain, certificate, what next.

    `file` is the experiment's, for what to type.
    """
    rates = [row for row in facts["rates"] if row["slice"] == "all" and row["metric"] == JUDGE]
    rates = rates or [row for row in facts["rates"] if row["slice"] == "all"]
    if not rates:
        return []
    lines = [_basis(facts, rates), "; ".join(_figure(facts, row) for row in rates[:MAX_SHOWN])]
    if len(rates) > MAX_SHOWN:
        lines[-1] += f"; and {len(rates) - MAX_SHOWN} more"
    assumptions = dict.fromkeys(row["assumption"] for row in rates if row["assumption"])
    lines += [f"assuming that {text}" for text in assumptions]
    lines += _differences(facts)
    lines += _gain(rates)
    lines.append(certificate_line(facts))
    lines += _remarks(facts)
    lines += _next(facts, rates, file)
    return lines


def _basis(facts: Mapping[str, Any], rates: Sequence[Mapping[str, Any]]) -> str:
    """Return how these figures came about."""
    if facts["scale"] == "pairwise":
        hidden = any(row.get("withheld") for row in rates)
        return (
            "the judge's wins against the baseline, ties one half; 50 % is no difference; position is dealt with by a "
            "drawn order, its other errors are not corrected"
            + (": withheld, for its certificate is provisional" if hidden else "")
        )
    parts: list[str] = []
    for method in dict.fromkeys(row["method"] for row in rates):
        own = [row for row in rates if row["method"] == method]
        who = "" if len(own) == len(rates) else f"{', '.join(row['candidate'] for row in own)}: "
        if not method:
            reason = own[0]["reason"]
            if any(row.get("withheld") for row in own):
                parts.append(f"{who}withheld: the certificate is provisional, and nothing corrects this: {reason}")
            elif facts["certificate"] is None:
                parts.append(f"{who}{UNCALIBRATED if reason == NOBODY else f'uncalibrated: {reason}'}")
            else:
                parts.append(f"{who}uncorrected: {reason}")
        elif method == "rogan_gladen":
            counts = f"{own[0]['n_labels']:,} sealed labels"
            parts.append(f"{who}corrected for the judge's errors {METHODS[method]}, from the certificate's {counts}")
        else:
            sizes = sorted({row["n_labels"] for row in own})
            span = dict.fromkeys((f"{sizes[0]:,}", f"{sizes[-1]:,}"))
            counts = f"{' to '.join(span)} labels"
            counts += " each" if len(own) > 1 else ""
            how = METHODS.get(method, method)
            parts.append(
                f"{who}corrected for the judge's errors, {how}: {counts}, of these very answers drawn at random"
            )
    return "; ".join(parts)


def _differences(facts: Mapping[str, Any]) -> list[str]:
    """Return what the differences assume, and that they may not be those of the rates shown."""
    rows = [row for row in facts["differences"] if row["slice"] == "all"]
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(row)
    lines: list[str] = []
    for method, own in by_method.items():
        pairs = dict.fromkeys(f"{row['candidate']} against {row['baseline']}" for row in own)
        who = ", ".join(list(pairs)[:MAX_SHOWN]) + (
            f" and {len(pairs) - MAX_SHOWN} more" if len(pairs) > MAX_SHOWN else ""
        )
        if method:
            lines.append(f"difference {who}: {METHODS.get(method, method)}, assuming that {own[0]['assumption']}")
        elif facts["certificate"] is not None and own[0]["reason"]:
            word = "withheld" if own[0].get("withheld") else "uncorrected"
            lines.append(f"difference {who}: {word}: {own[0]['reason']}")
    methods = {row["method"] for row in facts["rates"] if row["slice"] == "all" and row["method"]}
    if "common_error" in by_method and methods - {"rogan_gladen"}:
        lines.append("the rates shown are corrected by labels of their own, so their difference is not the one above")
    return lines


def _figure(facts: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    if not row["method"] and row.get("withheld"):
        return f"{row['candidate']} withheld"
    text = numbers.shown(row["estimate"], row["low"], row["high"], unit_of(facts, row["metric"])).text
    return f"{row['candidate']} {text} ({mark(facts, row)})"


def _gain(rates: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how many labels one label is worth thanks to the judge; where that is hardly more than one, so."""
    lines: list[str] = []
    for row in rates[:MAX_SHOWN]:
        gain = measured(row["gain"])
        if gain is None:
            continue
        worth = f"worth {gain * row['n_labels']:,.0f} labels of these very answers"
        if row["method"] == "rogan_gladen":
            lines.append(f"{row['candidate']}: judge and certificate are {worth}")
        elif gain < FEW_GAIN:
            lines.append(f"{row['candidate']}: effective-label gain {gain:.2f}: the judge adds nothing here")
        else:
            lines.append(
                f"{row['candidate']}: effective-label gain {gain:.2f}: its {row['n_labels']:,} labels are {worth}"
            )
    return lines


def certificate_line(facts: Mapping[str, Any]) -> str:
    """Return the certificate's state and dates, or that there is none."""
    found = facts["certificate"]
    if found is None:
        other = facts["another"]
        if other is None:
            return "certificate: none"
        return (
            f"certificate: none of this judge; the newest ({other['state']}, {other['issued_at'][:10]}) is of another"
        )
    until = f", until {found['valid_until'][:10]}" if found["valid_until"] else ", does not age"
    expired = ", EXPIRED" if found["expired"] else ""
    expired += ", DRIFTED since: it corrects as the judge was" if found.get("drift", {}).get("alarm") else ""
    return f"certificate: {found['state']} on {found['issued_at'][:10]}{until}{expired} ({found['id'][:12]})"


def _remarks(facts: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{candidate}: {gone:,} of {drawn:,} labelled answers have changed since: its labels are no random draw now"
        for candidate, (gone, drawn) in facts["changed"].items()
    ]
    if facts["n_disputed"]:
        lines.append(
            f"{facts['n_disputed']:,} labelled answers are disputed among people and left out: these figures are of "
            "answers on which they settle"
        )
    if facts.get("n_tuned"):
        lines.append(
            f"{facts['n_tuned']:,} labels of these answers were dealt to show the judge or to tune it on, and correct "
            "nothing: others of the same label stand for them"
        )
    return lines


def _next(facts: Mapping[str, Any], rates: Sequence[Mapping[str, Any]], file: str) -> list[str]:
    """Return what to type where somebody should check the judge."""
    if facts["scale"] == "pairwise" or (facts["certificate"] is not None and any(row["method"] for row in rates)):
        return []
    if facts["certificate"] is not None:
        return [f"next: safetycatch review {file}"]
    if facts["n_labels"]:
        return [f"next: safetycatch calibrate {file}   ({facts['n_labels']:,} labelled answers are there)"]
    return [f"next: safetycatch review {file}, then safetycatch calibrate {file}"]
