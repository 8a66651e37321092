"""A judge's certificate as one HTML page, with the report's look: no script, nothing in it that is not escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.judge_settings import FAIL, PASS
from safetycatch.report import axes, charts, escaping, numbers
from safetycatch.report.content import Banner, ReportContent
from safetycatch.report.html import provenance, render_page
from safetycatch.report.layout import Block, DotPlot, DotRow, Fold, Grid, Prose, Section, grid, heads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE = "certificate"
MAX_QUOTE = 600
KINDS: dict[str, Any] = {"certified": "CERTIFIED", "provisional": "PROVISIONAL", "refused": "REFUSED"}
WORDS = {
    "tpr": "TPR: of what people pass, the judge passes",
    "tnr": "TNR: of what people fail, the judge fails",
    "j": "J = TPR + TNR - 1",
    "accuracy": "accuracy",
    "kappa": "Cohen's kappa",
    "ac1": "Gwet's AC1",
    "mcc": "Matthews correlation",
    "alpha": "Krippendorff's alpha",
    "quadratic_kappa": "quadratic kappa",
    "linear_kappa": "linear kappa",
    "spearman": "Spearman",
    "tau_b": "Kendall's tau-b",
    "ordinal_alpha": "ordinal alpha",
}
BARS = {"tpr": "tpr", "tnr": "tnr", "j": "j"}


def render_certificate(
    certificate_id: str, certificate: Mapping[str, Any], disagreements: Sequence[Mapping[str, Any]], file: str
) -> str:
    """Return the page of a certificate (its JSON); `disagreements` are shown worst first, `file` is how it is typed."""
    content = ReportContent(
        name=certificate["experiment"],
        run_id=certificate_id[:16],
        mode="exploring",
        created_at=certificate["issued_at"],
        banner=_banner(certificate),
        metric="judge",
        candidates=(),
        provenance=_provenance(certificate_id, certificate),
        command=f"safetycatch calibrate {file}",
        notes=_notes(certificate),
    )
    sections = [
        _figures(certificate),
        _whole(certificate),
        _people(certificate),
        _slices(certificate),
        _probes(certificate),
        _disagreements(disagreements),
        Section("provenance", "What was certified", provenance(content)),
    ]
    return render_page(content, PAGE, _facts(certificate), sections, "Every number is in the JSON file beside it.")


def _banner(certificate: Mapping[str, Any]) -> Banner:
    needed = certificate["labels_needed"]
    return Banner(
        KINDS[certificate["state"]],
        certificate["reasons"][0]["text"],
        check=_bars(certificate["limits"]),
        action=needed[0] if needed else "",
    )


def _notes(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what stands below the headline: where people disagree, the other reasons, the labels."""
    others = [reason["text"] for reason in certificate["reasons"][1:]]
    return (
        *contested(certificate["people"]),
        *others,
        *certificate["labels_needed"][1:],
        *certificate["labels"]["notes"],
    )


def contested(people: Mapping[str, Any]) -> list[str]:
    """Return on what people themselves disagree: there a judge can be no better, and is not to blame."""
    figures = {one["criterion"]: one for one in people.get("criteria", ())}
    found: list[str] = []
    for name in people["contested"]:
        one = figures.get(name, {})
        told = f"people themselves disagree on {name or 'the whole answer'}"
        if one:
            alpha = "undefined" if one["alpha"] is None else f"{one['alpha']:.2f}"
            told += f": {one['n_split']} of {one['n_shared']} shared items, alpha {alpha}"
        found.append(f"{told}; say in the rubric what is right there before the judge is blamed")
    return found


def certificate_markdown(certificate: Mapping[str, Any]) -> str:
    """Return what Prefect, which others may read, is told of a certificate: no text of a row, nothing that works."""
    until = certificate["valid_until"][:10] if certificate["valid_until"] else "it does not age"
    lines = [
        f"# {certificate['state']}",
        "",
        f"valid until: {until} · {escaping.markdown_prose(certificate['validity'])}",
        "",
        *(f"- {escaping.markdown_prose(reason['text'])}" for reason in certificate["reasons"]),
    ]
    return "\n".join(lines)


def _bars(limits: Mapping[str, float]) -> str:
    return (
        f"certified: one-sided 95 % lower bounds TPR ≥ {limits['tpr']:.2f}, TNR ≥ {limits['tnr']:.2f}, "
        f"J ≥ {limits['j']:.2f}, and {limits['per_class']:g} sealed labels of each class; "
        f"provisional: J's lower bound above {limits['provisional_j']:.2f}"
    )


def _facts(certificate: Mapping[str, Any]) -> list[tuple[str, str]]:
    sizes, looks = certificate["sizes"], certificate["looks"]
    until = certificate["valid_until"]
    gain = certificate["correction"]["gain_at_most"]
    return [
        ("valid until", until[:10] if until else "it does not age"),
        ("because", certificate["validity"]),
        (
            "labelled items",
            f"{sizes['few_shot']} to show, {sizes['dev']} dev, {sizes['sealed']} sealed"
            + (f", {sizes['left_out']} left out" if sizes["left_out"] else ""),
        ),
        (
            "judges measured on these sealed labels",
            f"{looks['total']} of {looks['budget']}; this one {looks['revision']} times",
        ),
        (
            "correction",
            certificate["correction"]["method"].replace("_", "-") + f": {certificate['correction']['assumption']}",
        ),
        (
            "worth of the judge",
            "not known" if gain is None else f"its verdicts are worth at most {gain:.2f} times the labels alone",
        ),
    ]


def _figures(certificate: Mapping[str, Any]) -> Section:
    blocks: list[Block] = []
    bars = certificate["limits"]
    least = min((_least(one["figures"]) for one in certificate["sealed"]), default=0.0)
    axis = axes.linear_axis([least, 1.0], bounds=(least, 1.0))
    several = len(certificate["sealed"]) > 1
    for one in certificate["sealed"]:
        title = f"{one['positive']!r} against the rest" if several else "On the sealed test"
        rows = [
            DotRow(
                WORDS[name],
                f"n = {figure['n']}" + (f", its lower bound must reach {bars[bar]:.2f}" if bar else ""),
                charts.row(
                    charts.Mark(figure["estimate"], figure["low"], figure["high"], _words(name, figure)),
                    axis,
                    zero=bars[bar] if bar else None,
                ),
                numbers.plain(figure["estimate"]),
                f"lower bound {numbers.plain(figure['lower'])}",
            )
            for name in ("tpr", "tnr", "j")
            for figure, bar in [(one["figures"][name], BARS.get(name))]
        ]
        blocks.append(
            DotPlot(title, ("figure", "estimate with 95 % interval", "shares"), tuple(rows), charts.scale(axis))
        )
        if told := _independent(one):
            blocks.append(Prose(told, quiet=True))
        blocks.append(_confusion(one))
        blocks.append(Fold("Every figure behind it", (_table(one["figures"], title),)))
    if not blocks:
        blocks.append(Prose("No sealed label has a verdict.", quiet=True))
    if disputed := certificate["labels"].get("n_disputed"):
        told = f"{disputed} items on which people do not settle are left out: these rates are those of settled items."
        blocks.append(Prose(f"{told} On the hard ones the judge may err more.", quiet=True))
    reasons: list[tuple[Any, ...]] = [
        (escaping.html(reason["code"]), escaping.html(reason["text"])) for reason in certificate["reasons"]
    ]
    blocks.append(grid("Why this state", heads("code", "~reason"), reasons))
    return Section("figures", "On sealed labels", tuple(blocks))


def _least(figures: Mapping[str, Mapping[str, Any]]) -> float:
    """Return where the axis begins: J of a judge that says the opposite of people is -1."""
    low = figures["j"]["low"]
    return -1.0 if low is not None and low < 0 else 0.0


def _independent(one: Mapping[str, Any]) -> str:
    """Return what answers to one question do to the bounds; empty where every item is a question of its own."""
    effects = one.get("design_effects") or (1.0, 1.0)
    if max(effects) <= 1:
        return ""
    counts = (one["tp"] + one["fn"], one["fp"] + one["tn"])
    sides = (f"{n} labels tell as {n / effect:.0f}" for n, effect in zip(counts, effects, strict=True))
    return f"Answers to one question are alike: of what people pass and do not, {' and '.join(sides)} independent ones."


def _words(name: str, figure: Mapping[str, Any]) -> str:
    return f"{WORDS[name]}: {numbers.plain(figure['estimate'])}"


def _confusion(one: Mapping[str, Any]) -> Grid:
    positive = one["positive"]
    other = FAIL if positive == PASS else f"not {positive}"
    return grid(
        f"People in rows, judge in columns; {one['n_missing']} labelled items got no verdict",
        heads("people say", f"#judge: {positive}", f"#judge: {other}"),
        [
            (escaping.html(str(positive)), str(one["tp"]), str(one["fn"])),
            (escaping.html(other), str(one["fp"]), str(one["tn"])),
        ],
    )


def _table(figures: Mapping[str, Mapping[str, Any]], title: str) -> Grid:
    rows: list[tuple[Any, ...]] = [
        (
            WORDS.get(name, name),
            numbers.plain(figure["estimate"]),
            numbers.plain(figure["low"]),
            numbers.plain(figure["high"]),
            numbers.plain(figure["lower"]),
            str(figure["n"]),
            figure["method"],
        )
        for name, figure in figures.items()
    ]
    columns = heads("figure", "#estimate", "#low", "#high", "#one-sided lower", "#n", "method")
    return grid(title, columns, rows)


def _whole(certificate: Mapping[str, Any]) -> Section:
    accuracy = certificate["overall"].get("accuracy")
    told = "Every labelled item with a verdict, dev items too: it describes the judge and certifies nothing."
    blocks: list[Block] = [Prose(told, quiet=True), _table(certificate["overall"], "Over all verdicts of the scale")]
    if accuracy and accuracy["estimate"] is not None:
        blocks.insert(
            0, Prose(f"{round(accuracy['estimate'] * accuracy['n'])} of {accuracy['n']} verdicts as people's.")
        )
    return Section("whole", "On all labels", tuple(blocks))


def _people(certificate: Mapping[str, Any]) -> Section:
    people = certificate["people"]
    ceiling, test = people["ceiling"], people.get("alternative_annotator") or {}
    rows: list[tuple[Any, ...]] = [
        (
            f"{pair['first']} and {pair['second']}" + (f", {pair['criterion']}" if pair["criterion"] else ""),
            str(pair["n"]),
            numbers.plain(pair["agreed"]),
            numbers.plain(pair["kappa"]),
        )
        for pair in people["pairs"]
    ]
    blocks: list[Block] = []
    if ceiling.get("low") is not None:
        blocks.append(
            Prose(
                f"People agree with each other at a mean kappa of {ceiling['people']:.3f}, the judge with each of them "
                f"at {ceiling['judge']:.3f}, on {ceiling['n']} items: lower by {ceiling['shortfall']:.3f} "
                f"(one-sided bounds {ceiling['low']:.3f} and {ceiling['high']:.3f}; margin {ceiling['margin']:.2f})."
            )
        )
    else:
        blocks.append(
            Prose(f"Not measured, because {ceiling.get('reason', 'no two people labelled one item')}.", quiet=True)
        )
    if test.get("winning_rate") is not None:
        blocks.append(
            Prose(
                f"Alternative-annotator test: winning rate {test['winning_rate']:.2f}, "
                f"average advantage probability {numbers.plain(test.get('rho'))}; items taken as independent."
            )
        )
    blocks.append(
        grid("Pairs of people, on all that both labelled", heads("pair", "#items", "#agreed", "#kappa"), rows)
    )
    return Section("people", "People among themselves", tuple(blocks))


def _slices(certificate: Mapping[str, Any]) -> Section:
    rows: list[tuple[Any, ...]] = [
        (
            escaping.html(str(one["slice"])),
            one["figure"].upper(),
            str(one["n"]),
            numbers.plain(one["estimate"]),
            numbers.plain(one["rest"]),
            numbers.p_value(one["p_adjusted"]),
        )
        for one in certificate["slices"]
    ]
    columns = heads("slice", "figure", "#n", "#here", "#elsewhere", "#p (Holm)")
    blocks: tuple[Block, ...] = (
        grid("Slices with 30 sealed labels or more, one-sided Fisher test, items as independent", columns, rows),
    )
    return Section("slices", "Errors by slice", blocks)


def _probes(certificate: Mapping[str, Any]) -> Section:
    rows: list[tuple[Any, ...]] = [
        (
            one["kind"].replace("_", " "),
            one["verdict"].replace("_", " "),
            str(one["n"]),
            str(one["events"]),
            numbers.plain(one["rate"]),
            numbers.plain(one["upper"]),
            numbers.plain(one["limit"]),
            escaping.html(one["detail"], MAX_QUOTE),
        )
        for one in certificate["probes"]
    ]
    columns = heads("probe", "found", "#n", "#events", "#rate", "#at most (95 %)", "#limit", "~what was seen")
    if not rows:
        return Section("probes", "Probes", (Prose("Not made: --no-probes, or nobody can be asked.", quiet=True),))
    return Section("probes", "Probes", (grid("Asked again with what should not matter changed", columns, rows),))


def _disagreements(found: Sequence[Mapping[str, Any]]) -> Section:
    rows: list[tuple[Any, ...]] = [
        (
            escaping.html(one["example_id"]),
            escaping.html(one["input"], MAX_QUOTE),
            escaping.html(one["output"], MAX_QUOTE),
            escaping.html(f"{one['people']}. {' '.join(one['people_critiques'])}", MAX_QUOTE),
            escaping.html(f"{one['judge']}. {one['judge_critique']}", MAX_QUOTE),
        )
        for one in found
    ]
    told = "Dev items only: who reads disagreements on sealed ones tunes the judge on its test. Worst first."
    table = grid(
        "Where judge and people differ",
        heads("item", "~input", "~output", "~people say", "~the judge says"),
        rows,
        css="texts",
    )
    return Section("disagreements", "Worst disagreements", (Prose(told, quiet=True), table))


def _provenance(certificate_id: str, certificate: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    judge, labels = certificate["judge"], certificate["labels"]
    rows = [("certificate", certificate_id), ("judge's fingerprint", certificate["judge_key"])]
    for one in judge["judges"]:
        name = one["model"]
        model = f"{name['endpoint']}/{name['model']}" if name.get("endpoint") else name["model"]
        rows += [
            (one["id"], f"{model} · {one['params'] or 'no parameters'} · {one['prompt']}"),
            (f"{one['id']}'s rubric, SHA-256", one["rubric_sha256"]),
        ]
    if judge["returned"]:
        rows.append(("models that answered", ", ".join(f"{name} ({n})" for name, n in judge["returned"].items())))
    if judge["recorded_sha256"]:
        rows.append(("recorded verdicts, SHA-256", judge["recorded_sha256"]))
    rows += [
        ("labels, SHA-256", certificate["labels_hash"]),
        ("labels", f"{labels['n_labels']} of {labels['n_items']} items, {labels['n_disputed']} disputed"),
        ("by label", ", ".join(f"{name}: {n}" for name, n in labels["by_label"].items())),
        ("annotators", ", ".join(f"{name} ({n})" for name, n in labels["annotators"].items())),
        ("labelled", f"{labels['first'] or 'unknown'} to {labels['last'] or 'unknown'}"),
        ("protocol", labels["protocol"]),
        ("scale", str(certificate["scale"])),
        *((f"version of {name}", version) for name, version in certificate["versions"].items()),
    ]
    return tuple(rows)
