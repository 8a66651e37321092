"""Rows as a page shows them: excerpts with the found words marked, outcomes in words, texts folded when they are long.

Whatever comes from data or models goes through `report.escaping` here or in the templates.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.judge_settings import PASS
from safetycatch.report import diff, escaping, numbers
from safetycatch.review.browser.labelled import UNLABELLED, WITHHELD
from safetycatch.review.browser.offered import BETWEEN, JUDGE, RIGHT, WRONG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from safetycatch.review.browser.facets import Facet
    from safetycatch.review.browser.labelled import Labelled, Said
    from safetycatch.review.browser.query import Query
    from safetycatch.review.browser.rows import RowIndex

EXCERPT, LEAD = 180, 60
FOLDED = 1_200
MAX_SHOWN = 50_000
MAX_COMPARED = 20_000
GOOD = frozenset({RIGHT, "fixed", "both right", PASS, "win", "agree"})
BAD = frozenset({WRONG, "broken", "both wrong", "fail", "loss", "disagree", "disputed"})


@dataclass(frozen=True, slots=True)
class Tag:
    """A word with its colour and the glyph that says the same."""

    word: str
    css: str
    glyph: str


def tag(word: str, prefix: str = "") -> Tag:
    """Return an outcome as a tag; `prefix` says whose outcome it is."""
    css, glyph = ("good", "✓") if word in GOOD else ("bad", "✕") if word in BAD else ("", "·")
    css, glyph = ("half", "◐") if word == BETWEEN else (css, glyph)
    return Tag(f"{prefix} {word}".strip(), css, glyph)


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the list; `place` is its 1-based place in the selection."""

    place: int
    item: str
    href: str
    candidate: str
    input: Markup
    output: Markup
    target: Markup
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge or a person said of an answer."""

    who: str
    verdict: Tag
    critique: Markup


@dataclass(frozen=True, slots=True)
class Card:
    """One candidate's answer to an item, whole."""

    name: str
    chosen: bool
    output: Markup
    parsed: Markup | None
    tags: tuple[Tag, ...]
    facts: tuple[tuple[str, str], ...]
    scores: tuple[tuple[str, str], ...]
    judgements: tuple[Judgement, ...]


def excerpt(text: str, words: Sequence[str], limit: int = EXCERPT) -> Markup:
    """Return a line of `text` around the first of `words` that occurs in it, every occurrence marked."""
    from markupsafe import Markup

    found = re.compile("|".join(re.escape(word) for word in words), re.IGNORECASE) if words else None
    first = found.search(text) if found is not None else None
    start = 0
    if first is not None and first.end() > limit:
        start = first.start() - LEAD
        start += max(0, text.find(" ", start, first.start()) - start)
    piece = text[start : start + limit]
    spans = [match.span() for match in found.finditer(piece)] if found is not None else []
    parts, at = ["…" if start else ""], 0
    for begin, end in spans:
        parts += [_line(piece[at:begin]), "<mark>", _line(piece[begin:end]), "</mark>"]
        at = end
    parts += [_line(piece[at:]), "…" if start + limit < len(text) else ""]
    return Markup("").join(Markup(part) for part in parts)  # noqa: S704 - every piece of text went through `_line`


def _line(text: str) -> Markup:
    return escaping.html(" ".join(re.split(r"[\n\t]+", text)), len(text))


def whole(text: str | None, missing: str = "no output") -> Markup:
    """Return a text as a block, a long one folded behind its beginning."""
    from markupsafe import Markup

    if not text:
        return Markup('<p class="quiet">{}</p>').format(missing if text is None else "(empty)")
    body = Markup('<div class="text">{}</div>').format(escaping.html(text, MAX_SHOWN))
    if len(text) <= FOLDED:
        return body
    start, more = escaping.html(text[: diff.START_CHARACTERS]), f"{len(text):,} characters"
    return Markup('<details><summary><span class="text start">{}…</span> <em>{}</em></summary>{}</details>').format(
        start, more, body
    )


def readable(text: str, kind: str) -> str:
    """Return an input as people read it: messages one under the other, JSON indented, text as it is."""
    if kind not in {"json", "messages"}:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if kind == "messages" and isinstance(value, list) and all(isinstance(one, dict) for one in value):
        parts = [(one.get("role", ""), one.get("content", "")) for one in value]
        return "\n\n".join(f"{role}: {body if isinstance(body, str) else json.dumps(body)}" for role, body in parts)
    return json.dumps(value, ensure_ascii=False, indent=2)


class Showing:
    """The rows of an index as a query asks for them."""

    def __init__(self, index: RowIndex, query: Query, labelled: Labelled | None) -> None:
        self.index, self.query, self.labelled = index, query, labelled
        self.metric = index.shown_metric(query.metric)
        self.facets = {facet.name: facet for facet in index.facets(query, labelled)}

    def _values(self, name: str, row: int) -> list[str]:
        facet: Facet | None = self.facets.get(name)
        return facet.of(row) if facet is not None else []

    def score(self, row: int) -> tuple[Tag, ...]:
        """Return a row's score as right, wrong or between, or as its value; nothing where it is the judge's word."""
        if self.metric == JUDGE:
            return ()
        word = self._values("score", row)[0]
        value = float(self.index.scores(self.metric)[row]) if self.metric else float("nan")
        if word in {BETWEEN, "measured"}:
            return (Tag(f"{value:.3g}", "half" if word == BETWEEN else "", "◐" if word == BETWEEN else ""),)
        return (tag(word if word in {RIGHT, WRONG} else "no score"),)

    def tags(self, row: int, *, alone: bool = True) -> tuple[Tag, ...]:
        """Return what else is worth knowing of a row at a glance; of its item too where it stands `alone`."""
        status = self._values("status", row)[0]
        found = [tag(status)] if status != "answer" else []
        found += [tag(value) for value in self._values("flip", row) if value in {"fixed", "broken"}]
        found += [tag(value, "judge:") for value in self._values("verdict", row)]
        found += [tag(value, "people:") for value in self._values("label", row) if value not in {UNLABELLED, WITHHELD}]
        found += [tag(value) for value in self._values("judge", row) if value in {"disagree", WITHHELD}]
        found += [tag(value) for name in ("mode", *(["catch"] if alone else [])) for value in self._values(name, row)]
        return tuple(_coloured(one) for one in found)

    def lines(self, rows: Sequence[int], first: int) -> list[Line]:
        """Return the lines of these rows, numbered from `first`."""
        index, words = self.index, self.query.words
        items = index.item[list(rows)].tolist()
        outputs = index.outputs.take("output", rows)
        ids = self.index.names_of(items)
        found: list[Line] = []
        for number, (row, output, item, texts) in enumerate(
            zip(rows, outputs, ids, index.texts_of(items), strict=True), first
        ):
            shown = readable(texts.get("input", ""), texts.get("input_kind", "text"))
            repeat = f" #{index.replicate[row] + 1}" if index.n_replicates > 1 else ""
            found.append(
                Line(
                    place=number,
                    item=item,
                    href=self.address(item),
                    candidate=index.candidates[index.candidate[row]] + repeat,
                    input=excerpt(shown, words),
                    output=excerpt(output, words) if output is not None else escaping.html(""),
                    target=excerpt(texts.get("target", ""), words, 80),
                    tags=(*self.score(row), *self.tags(row)),
                )
            )
        return found

    def address(self, item: str, **more: str) -> str:
        """Return the address of an item's page, the query with it."""
        from urllib.parse import urlencode

        return "/run/row?" + urlencode([("item", item), *more.items(), *self.query.on(1).pairs()])

    def cards(self, rows: Sequence[int]) -> list[Card]:
        """Return an item's answers, whole."""
        index = self.index
        judged = index.verdicts_of(rows)
        wanted = self.query.chosen.get("candidate", ())
        columns = {
            name: index.outputs.take(name, rows) for name in ("output", "parsed", "error_class", "model_returned")
        }
        found: list[Card] = []
        for place, row in enumerate(rows):
            output, parsed, error, model = (columns[name][place] for name in columns)
            judgements = [_of_judge(one) for one in judged if one["row"] == row]
            said = self.labelled.said.get(row, []) if self.labelled is not None else []
            judgements += [_of_person(one) for one in said]
            judgements += [_withheld()] if self.labelled is not None and row in self.labelled.withheld else []
            status = self._values("status", row)[0]
            facts = [("status", f"{status}: {error}" if error else status)]
            facts += [("cost", numbers.money(float(index.numbers["cost_usd"][row])))]
            facts += [("took", numbers.seconds(float(index.numbers["latency_s"][row])))]
            length = numbers.measured(float(index.numbers["n_tokens_out"][row]))
            facts += [("tokens out", numbers.ABSENT if length is None else f"{length:,.0f}")]
            facts += [("model", model)] if model else []
            found.append(
                Card(
                    name=self.name(row),
                    chosen=index.candidates[index.candidate[row]] in wanted,
                    output=whole(output),
                    parsed=escaping.html(parsed) if parsed is not None and parsed != output else None,
                    tags=(*self.score(row), *self.tags(row, alone=False)),
                    facts=tuple((what, told) for what, told in facts if told != numbers.ABSENT),
                    scores=tuple(
                        (name, _figure(float(index.scores(name)[row])))
                        for name in index.metrics
                        if name == self.metric or index.is_share(name)
                    ),
                    judgements=tuple(judgements),
                )
            )
        return found

    def name(self, row: int) -> str:
        """Return what a row is called among its item's: its candidate, and which repeat where there are several."""
        index = self.index
        repeat = f" #{index.replicate[row] + 1}" if index.n_replicates > 1 else ""
        return index.candidates[index.candidate[row]] + repeat

    def flags(self, item: int) -> list[tuple[str, str]]:
        """Return an item's slices."""
        names = [name for name in self.facets if name.startswith("slice:")]
        return [(name.removeprefix("slice:"), ", ".join(self.index.values_of(name, item))) for name in names]


def _figure(value: float) -> str:
    return numbers.ABSENT if value != value else f"{value:.3g}"  # noqa: PLR0124 - NaN


def _coloured(one: Tag) -> Tag:
    word = one.word.rpartition(": ")[2]
    plain = tag(word)
    return Tag(one.word, plain.css, plain.glyph)


def _of_judge(said: dict[str, str | None]) -> Judgement:
    who = " · ".join(
        part for part in (said["judge"], said["criterion"], "swapped" if said["order"] == "swapped" else "") if part
    )
    verdict = said["verdict"] or f"no verdict ({said['error_class'] or said['status']})"
    return Judgement(who or JUDGE, tag(verdict), whole(said["critique"], "no critique"))


def _withheld() -> Judgement:
    return Judgement("people", tag(WITHHELD), whole(None, "not shown: the judge's sealed test rests on it"))


def _of_person(said: Said) -> Judgement:
    who = f"{said.annotator} · {said.criterion}" if said.criterion else said.annotator
    critique = said.critique + (f"\n[{'; '.join(said.modes)}]" if said.modes else "")
    return Judgement(who, tag(said.label), whole(critique.strip() or None, "no critique"))
