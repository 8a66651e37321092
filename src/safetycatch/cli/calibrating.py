"""`calibrate`: a judge against people's labels, to a certificate."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import EXIT_OK, EXIT_REFUSED

if TYPE_CHECKING:
    from safetycatch.cli.output import Output

COLOURS = {"certified": "good", "provisional": "note", "refused": "bad"}
DRIFT_STATES = {"holds": ("HOLDS", "good"), "drifted": ("DRIFTED", "bad"), "not_checked": ("NOT CHECKED", "bad")}
SHOWN = 3
MAX_CHANGES = 160
FIGURES = (("tpr", "TPR"), ("tnr", "TNR"), ("j", "J"), ("kappa", "kappa"))


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel="Evaluate")(calibrate)


def calibrate(
    file: Annotated[Path, typer.Argument(help="An experiment file with judge: {…, labels: …}.", show_default=False)],
    probes: Annotated[bool, typer.Option(help="Ask again with order, length, form, instructions changed.")] = True,
    sentinels: Annotated[bool, typer.Option("--sentinels", help="Only ask whether the judge drifted.")] = False,
    refine: Annotated[bool, typer.Option("--refine", help="Try better rubrics on dev labels.")] = False,
    refiner: Annotated[str | None, typer.Option(help="Who proposes them; default: the judge's model.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve what it costs, where it would ask (SC302).")] = False,
    name: Annotated[str | None, typer.Option("--as", help="Who approves; default: your login name.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Compare an experiment's judge with people's labels and write its certificate: certified, provisional, refused.

    Ends 0 whatever the state is: SC101 to SC110 refuse the runs that claim by such a judge. The same command again
    asks nothing that is answered. With --sentinels it ends 10 unless they were asked and the judge holds.
    """
    from safetycatch.cli.approving import asker
    from safetycatch.cli.output import Output, quiet_stdout
    from safetycatch.cli.running import in_flow
    from safetycatch.errors import UsageError
    from safetycatch.experiment import load_experiment

    if refine and sentinels:
        raise UsageError("both --refine and --sentinels", expected="one of them")
    if refiner is not None and not refine:
        raise UsageError("--refiner without --refine", fix="--refine")
    load_experiment(file, alone=True)  # a wrong file is told before a server is started for it
    output = Output(json=json)
    ask = asker(output, name, yes=yes)

    def start(flow: Any) -> Any:
        if refine:
            return flow(experiment=str(file.absolute()), refiner=refiner, unattended=False)
        return flow(experiment=str(file.absolute()), probes=probes, sentinels=sentinels, unattended=False)

    with quiet_stdout(output):
        result, _ = in_flow("refine" if refine else "calibrate", file, output, ask, start, alone=True)
    if not json and not refine and not sentinels:
        show(result, output, file)
    elif not json:
        (show_refined if refine else show_drift)(result, output)
    output.document(result)
    return EXIT_REFUSED if sentinels and result["state"] != "holds" else EXIT_OK


def show(result: dict[str, Any], output: Output, file: Path) -> None:
    """Print a certificate for people; `file` is the experiment's as it was typed."""
    from safetycatch.cli.output import safe
    from safetycatch.cli.running import calls_line, near
    from safetycatch.report.certificate import contested
    from safetycatch.report.numbers import plain, seconds

    output.field("calls", calls_line(result))
    for text in contested(result["people"]):
        output.field("people", safe(text))
    several = len(result["sealed"]) > 1
    for one in result["sealed"]:
        told = [
            f"{word} {plain(figure['estimate'])} [{plain(figure['low'])}, {plain(figure['high'])}]"
            for name, word in FIGURES
            for figure in [one["figures"][name]]
        ]
        n = one["tp"] + one["fn"] + one["fp"] + one["tn"]
        output.field("sealed" if not several else one["positive"], f"{' · '.join(told)} · n = {n}")
    n_agreed, n_judged = result["agreed"]
    output.field("all labels", f"{n_agreed:,} of {n_judged:,} as people say")
    if disputed := result["labels"]["n_disputed"]:
        output.field("", f"without {disputed:,} disputed items: these are the rates of settled ones")
    ceiling = result["people"]["ceiling"]
    if ceiling.get("low") is not None:
        told = f"kappa {ceiling['people']:.2f} with each other, {ceiling['judge']:.2f} with the judge"
        output.field("people", f"{told} (n = {ceiling['n']})")
    for probe in result["probes"]:
        if probe["verdict"] == "not_checked":
            output.field("probe", f"{probe['kind'].replace('_', ' ')}: not checked, {safe(probe['detail'])}")
    for one in result["disagreements"][:SHOWN]:
        output.field("differs", f"{safe(one['example_id'])}: people say {one['people']}, the judge {one['judge']}")
    word = result["state"].upper()
    reasons = [reason["text"] for reason in result["reasons"]]
    output.line(f"  {'state':<9} {output.painted(word, COLOURS[result['state']])}  {safe(reasons[0])}")
    for text in [*reasons[1:], *result["labels_needed"]]:
        output.field("", safe(text))
    until = result["valid_until"]
    output.field("holds", f"{'until ' + until[:10] + ', ' if until else ''}{result['validity']}")
    output.field("page", f"{near(result['page'])}   ({seconds(result['wall_s'])})")
    for text in next_steps(result, str(file)):
        output.field("next", safe(text))


def next_steps(result: dict[str, Any], file: str) -> list[str]:
    """Return what to type for a better state; nothing where it is certified."""
    codes = {reason["code"] for reason in result["reasons"]}
    if result["state"] == "certified":
        return []
    if codes & {"sealed_seen", "looks", "no_sealed_labels"}:
        return [f"safetycatch review {file}   label new items, then safetycatch calibrate {file}"]
    steps: list[str] = []
    if "inverted" in codes:
        steps.append(f"read the rubric against the disagreements on the page, then safetycatch calibrate {file}")
    elif any("more labels will not" in text for text in result["labels_needed"]) and not _recorded(result):
        steps.append(f"safetycatch calibrate {file} --refine   a better rubric, tried on dev labels")
    if any("more sealed labels" in text for text in result["labels_needed"]):
        steps.append(f"safetycatch review {file}   more labels, then safetycatch calibrate {file}")
    return steps


def _recorded(result: dict[str, Any]) -> bool:
    return bool(result["judge"]["recorded_sha256"])


def show_drift(result: dict[str, Any], output: Output) -> None:
    """Print what the sentinels say for people."""
    from safetycatch.cli.output import safe
    from safetycatch.cli.running import calls_line

    output.field("calls", calls_line(result))
    output.field("sentinels", safe(result["drift"]["sentinels"]["detail"]))
    output.field("labels", safe(result["drift"]["labels"]["detail"]))
    word, colour = DRIFT_STATES[result["state"]]
    output.line(f"  {'state':<9} {output.painted(word, colour)}  {safe(result['drift']['detail'])}")
    if result["next"]:
        output.field("next", safe(result["next"]))


def show_refined(result: dict[str, Any], output: Output) -> None:
    """Print what became of the rubrics that were tried for people."""
    from safetycatch.cli.output import safe
    from safetycatch.cli.running import calls_line
    from safetycatch.report.numbers import seconds

    output.field("calls", calls_line(result))
    for row in result["revisions"]:
        output.field(row["name"], f"{row['kind']:<7} {_figures(row)}")
        if row["changes"]:
            output.field("", safe(row["changes"])[:MAX_CHANGES])
    output.field("stopped", safe(result["stopped"]))
    if result["sealed"]:
        output.field("sealed", f"looked at once: {safe(result['sealed']['told'])}")
    word, colour = ("GAIN", "good") if result["gain"] else ("NO GAIN", "note")
    output.line(
        f"  {'verdict':<9} {output.painted(word, colour)}  {safe(result['use'])}   ({seconds(result['wall_s'])})"
    )


def _figures(row: dict[str, Any]) -> str:
    if row["parent"] is None:
        return "as given"
    if row["low"] is None:
        return f"from {row['parent']}: the same verdicts on dev"
    figures = f"{100 * row['estimate']:+.1f} points [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] on dev"
    return f"from {row['parent']}: {figures}{' · kept' if row['kept'] else ''}"
