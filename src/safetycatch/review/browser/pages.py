"""The routes of the row browser: a list with filters, one row with all candidates, and the filtered rows as CSV."""

from __future__ import annotations

import shlex
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import numpy as np

from safetycatch.errors import SafetycatchError, UsageError
from safetycatch.report import diff
from safetycatch.review.browser.export import csv_lines
from safetycatch.review.browser.labelled import Labelled, sealed_now
from safetycatch.review.browser.query import FIELDS, Query
from safetycatch.review.browser.rows import PAGE_ROWS, RowIndex
from safetycatch.review.browser.showing import MAX_COMPARED, Showing, readable, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from safetycatch.review.browser.facets import Choice, Facet
    from safetycatch.review.browser.rows import Selection
    from safetycatch.review.pages import Pages
    from safetycatch.store import Store, StoredRun

LIST, ROW, CSV = "/run", "/run/row", "/run/rows.csv"
FEW, MOST = 10, 100  # choices of a facet: shown at once, and shown at all
MAX_LEAKS = 10


def routes(store: Store, run: StoredRun, pages: Pages, labels: Callable[[], pa.Table] | None = None) -> list[BaseRoute]:
    """Return the read-only routes below `/run`; `labels` gives what people said so far, each time it is asked.

    Raises: UsageError for a run without rows; StoreError when it is damaged.
    """
    from starlette.routing import Route

    index = RowIndex(run, store)
    # Scores are read and imports done before anybody waits for a page.
    index.select(Query())
    room = _Browser(index, pages, labels)
    return [Route(LIST, room.list), Route(ROW, room.row), Route(CSV, room.csv)]


@dataclass(frozen=True, slots=True)
class Link:
    """One choice of a facet as a link that adds it or takes it away."""

    words: str
    count: str
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A facet with its choices, the commonest few and the others."""

    title: str
    few: tuple[Link, ...]
    more: tuple[Link, ...]
    left_out: int


class _Browser:
    def __init__(self, index: RowIndex, pages: Pages, labels: Callable[[], pa.Table] | None) -> None:
        self._index, self._pages, self._labels = index, pages, labels
        self._known: tuple[pa.Table, Labelled] | None = None
        self._lock = threading.Lock()

    def _labelled(self) -> Labelled | None:
        """Return the labels as they are now; the same object while nothing was added."""
        if self._labels is None:
            return None
        table = self._labels()
        with self._lock:
            known = self._known
            if known is None or not known[0].equals(table) or known[1].sealed != sealed_now(self._index):
                known = table, Labelled(self._index, table, known[1].version + 1 if known is not None else 0)
            self._known = known
            return known[1]

    def list(self, request: Request) -> Response:
        query = Query.parse(request.query_params.multi_items())
        try:
            labelled = self._labelled()
            found = self._index.select(query, labelled)
            return self._listed(request, query, labelled, found)
        except SafetycatchError as error:
            return self._problem(request, error)

    def _listed(self, request: Request, query: Query, labelled: Labelled | None, found: Selection) -> Response:
        showing = Showing(self._index, query, labelled)
        n, n_pages = len(found.rows), max(1, -(-len(found.rows) // PAGE_ROWS))
        query = query.on(min(query.page, n_pages))
        start = (query.page - 1) * PAGE_ROWS
        rows = found.rows[start : start + PAGE_ROWS].tolist()
        by_name = showing.facets
        return self._pages.page(
            "rows.html.j2",
            request.url.path,
            run_id=self._index.run_id,
            query=query,
            fields=FIELDS,
            sorts=_sorts(query),
            metrics=self._index.metrics,
            metric=showing.metric,
            hidden=[(name, value) for name, values in query.chosen.items() for value in values],
            groups=[_group(by_name[name], choices, query) for name, choices in found.choices.items()],
            chips=_chips(query, by_name),
            lines=showing.lines(rows, start + 1),
            told=_told(n, self._index.n_rows, len(found.items)),
            span=f"{start + 1:,}-{start + len(rows):,} of {n:,}" if rows else "",
            turns=_turns(query, n_pages),
            csv=f"{CSV}?{query.on(1).url()}",
            command=command(self._index.run_id, query),
            inputs_known=self._index.inputs_known,
            n_withheld=f"{len(labelled.withheld):,}" if labelled is not None and labelled.withheld else "",
        )

    def row(self, request: Request) -> Response:
        given = [pair for pair in request.query_params.multi_items() if pair[0] not in {"item", "a", "b"}]
        query, asked = Query.parse(given), request.query_params
        try:
            return self._shown(request, query, asked.get("item", ""), (asked.get("a", ""), asked.get("b", "")))
        except SafetycatchError as error:
            return self._problem(request, error)

    def _shown(self, request: Request, query: Query, item_id: str, pair: tuple[str, str]) -> Response:
        index, labelled = self._index, self._labelled()
        item = index.code(item_id)
        found = index.select(query, labelled)
        showing = Showing(index, query, labelled)
        rows = index.rows_of(item)
        names = [showing.name(row) for row in rows]
        texts = index.texts_of([item])[0]
        shown_input = readable(texts.get("input", ""), texts.get("input_kind", "text")) if texts else None
        place = int(np.argmax(found.items == item)) if (found.items == item).any() else None
        before, after = _neighbours(found, place)
        at = int(np.argmax(index.item[found.rows] == item)) if place is not None else 0
        back = query.on(at // PAGE_ROWS + 1)
        cluster = [name for name in index.values_of("cluster", item) if index.shares_cluster(item)]
        return self._pages.page(
            "row.html.j2",
            request.url.path,
            run_id=index.run_id,
            item=item_id,
            told=f"{place + 1:,} of {len(found.items):,} items" if place is not None else "not among the filtered rows",
            back=_address(LIST, back.pairs()) + (f"#r{at + 1}" if place is not None else ""),
            before=showing.address(index.names_of([before])[0]) if before is not None else "",
            after=showing.address(index.names_of([after])[0]) if after is not None else "",
            input=whole(shown_input, "the run does not know its inputs: it was stored by an older version"),
            target=whole(texts.get("target"), "not known"),
            slices=showing.flags(item),
            catches=index.values_of("catch", item),
            cluster=_address(LIST, [("cluster", cluster[0])]) if cluster else "",
            leaks=_leaks(index, item, shown_input or ""),
            cards=showing.cards(rows),
            compared=_compared(index, rows, names, pair, query),
            names=names,
            hidden=[("item", item_id), *query.on(1).pairs()],
        )

    def csv(self, request: Request) -> Response:
        from starlette.responses import StreamingResponse

        query = Query.parse(request.query_params.multi_items())
        try:
            labelled = self._labelled()
            found = self._index.select(query, labelled)
        except SafetycatchError as error:
            return self._problem(request, error)
        named = f'attachment; filename="{self._index.run_id}-rows.csv"'
        lines = csv_lines(self._index, query, labelled, found.rows.tolist())
        return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers={"content-disposition": named})

    def _problem(self, request: Request, error: SafetycatchError) -> Response:
        status = 404 if isinstance(error, UsageError) else 500
        return self._pages.page("rows_problem.html.j2", request.url.path, status=status, text=str(error), back=LIST)


def _address(path: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(pairs)}" if pairs else path


def command(run_id: str, query: Query) -> str:
    """Return the command that opens these rows again."""
    return shlex.join(
        ["safetycatch", "review", run_id, "--rows", *(["--filter", query.on(1).url()] if query.pairs() else [])]
    )


def _told(n: int, n_all: int, n_items: int) -> str:
    if n == n_all:
        return f"{n:,} rows of {n_items:,} items"
    return f"{n:,} of {n_all:,} rows, {n_items:,} items" if n else f"none of {n_all:,} rows"


def _sorts(query: Query) -> list[tuple[str, str, bool]]:
    """Return the orders on offer: value, words, and whether it is the present one."""
    words = {
        "item": "as in the data",
        "id": "id",
        "score": "lowest score first",
        "-score": "highest score first",
        "-latency": "slowest first",
        "-cost": "dearest first",
        "-length": "longest first",
        "length": "shortest first",
    }
    if query.sort not in words:
        words[query.sort] = f"{query.sort.removeprefix('-')}, {'down' if query.sort.startswith('-') else 'up'}"
    return [(name, told, name == query.sort) for name, told in words.items()]


def _group(facet: Facet, choices: list[Choice], query: Query) -> Group:
    ordered = sorted(choices, key=lambda one: (not one.chosen, -one.n)) if len(choices) > FEW else choices
    links = [
        Link(
            one.value or "(empty)",
            f"{one.n:,}",
            _address(LIST, query.toggled(facet.name, one.value).pairs()),
            one.chosen,
        )
        for one in ordered
        if one.n or one.chosen
    ]
    return Group(facet.title, tuple(links[:FEW]), tuple(links[FEW:MOST]), max(0, len(links) - MOST))


def _chips(query: Query, facets: dict[str, Facet]) -> list[tuple[str, str]]:
    """Return what is filtered by, each with the address without it."""
    found = [(f"“{query.text}”", _address(LIST, query.searching("").pairs()))] if query.text else []
    for name, values in query.chosen.items():
        title = facets[name].title if name in facets else f"{name} (no such filter here)"
        found += [(f"{title}: {value}", _address(LIST, query.toggled(name, value).pairs())) for value in values]
    return found


def _turns(query: Query, n_pages: int) -> list[tuple[str, str, str]]:
    """Return the links to other pages: relation, words, address; empty addresses where there is none."""
    wanted = [("first", "First", 1), ("prev", "Previous", query.page - 1)]
    wanted += [("next", "Next", query.page + 1), ("last", "Last", n_pages)]
    return [
        (rel, words, _address(LIST, query.on(page).pairs()) if 1 <= page <= n_pages and page != query.page else "")
        for rel, words, page in wanted
    ]


def _neighbours(found: Selection, place: int | None) -> tuple[int | None, int | None]:
    if place is None:
        return None, None
    before = int(found.items[place - 1]) if place > 0 else None
    return before, int(found.items[place + 1]) if place + 1 < len(found.items) else None


def _leaks(index: RowIndex, item: int, text: str) -> list[tuple[str, diff.Sides]]:
    """Return the pairs that leak with what both rows share marked, each under what it is."""
    name = index.names_of([item])[0]
    found: list[tuple[str, diff.Sides]] = []
    for pair in index.leaks_of(item)[:MAX_LEAKS]:
        mine = pair["left_id"] == name
        other, split = (pair["right_id"], pair["right_split"]) if mine else (pair["left_id"], pair["left_split"])
        likeness = "" if pair["similarity"] is None else f", similarity {pair['similarity']:.2f}"
        title = f"{pair['kind']}: {split} {other}{likeness}"
        found.append((title, diff.overlap(text, index.example_text(other) or "(its text is not known)")))
    return found


@dataclass(frozen=True, slots=True)
class Compared:
    """Two answers word by word; `note` says why they are not compared."""

    a: str
    b: str
    sides: diff.Sides | None
    note: str


def _compared(
    index: RowIndex, rows: Sequence[int], names: Sequence[str], pair: tuple[str, str], query: Query
) -> Compared | None:
    """Return two answers side by side: those asked for, else the baseline's and that of who is looked at."""
    if len(rows) < 2:
        return None
    focus = [*query.chosen.get("candidate", ()), index.headline or ""]
    of = dict(zip(names, rows, strict=True))
    first = next(
        (name for name, row in of.items() if index.candidates[index.candidate[row]] == index.baseline), names[0]
    )
    others = [name for name in names if name != first]
    second = next((name for wanted in focus for name in others if name == wanted), others[0])
    a, b = (given if given in of else default for given, default in zip(pair, (first, second), strict=True))
    before, after = index.outputs.take("output", [of[a], of[b]])
    if before is None or after is None:
        return Compared(a, b, None, f"{a if before is None else b} has no output")
    if before == after:
        return Compared(a, b, None, "both answers are equal, letter by letter")
    sides = diff.changed(before, after, MAX_COMPARED)
    note = "" if sides.compared else f"too long to be compared word by word (more than {diff.MAX_DIFF_WORDS} words)"
    return Compared(a, b, sides, note)
