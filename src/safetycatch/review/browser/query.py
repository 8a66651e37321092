"""What a page of rows was asked for: it is all in the address, so that it can be shared and gone back to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FIELDS = ("id", "input", "target", "output", "critique")
SORTS = ("item", "id", "score", "latency", "cost", "length")
MAX_TEXT, MAX_WORDS = 500, 8
MAX_PAIRS = 200  # of an address
MAX_PAGE = 10_000_000
_WORD = re.compile(r'"([^"]+)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Query:
    """A filter, an order and a page: rows must hold every word of `text` in one of the fields `within` (none: in any).

    `chosen` holds values by facet: those of one facet are alternatives, different facets must all agree. `sort` is one
    of `SORTS`, largest first with a `-` before it; `metric` is what scores are shown of.
    """

    text: str = ""
    within: tuple[str, ...] = ()
    metric: str = ""
    sort: str = "item"
    page: int = 1
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    @classmethod
    def parse(cls, pairs: Iterable[tuple[str, str]] | str) -> Query:
        """Return the query of an address's parameters; what is no parameter of ours counts as a facet."""
        if isinstance(pairs, str):
            pairs = parse_qsl(pairs.lstrip("?"), max_num_fields=MAX_PAIRS)
        one: dict[str, str] = {}
        within: list[str] = []
        chosen: dict[str, list[str]] = {}
        for key, value in list(pairs)[:MAX_PAIRS]:
            if not value:
                continue
            if key == "in":
                within += [value] if value in FIELDS and value not in within else []
            elif key in {"q", "metric", "sort", "page"}:
                one[key] = value
            elif value not in chosen.setdefault(key, []):
                chosen[key].append(value)
        sort, page = one.get("sort", "item"), one.get("page", "1")
        return cls(
            text=one.get("q", "")[:MAX_TEXT].strip(),
            within=tuple(name for name in FIELDS if name in within),
            metric=one.get("metric", ""),
            sort=sort if sort.removeprefix("-") in SORTS else "item",
            page=min(MAX_PAGE, max(1, int(page))) if page.isascii() and page.isdigit() and len(page) < 9 else 1,
            chosen={key: tuple(sorted(values)) for key, values in sorted(chosen.items())},
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the text; several in double quotes are one."""
        return tuple(quoted or bare for quoted, bare in _WORD.findall(self.text))[:MAX_WORDS]

    @property
    def key(self) -> tuple[object, ...]:
        """What decides which rows are shown in which order."""
        return self.words, self.within, self.metric, self.sort, tuple(self.chosen.items())

    def pairs(self) -> list[tuple[str, str]]:
        """Return the address's parameters, in an order that equal queries share."""
        found = [("q", self.text)] if self.text else []
        found += [("in", name) for name in self.within]
        found += [(name, value) for name, values in self.chosen.items() for value in values]
        found += [("metric", self.metric)] if self.metric else []
        found += [("sort", self.sort)] if self.sort != "item" else []
        return found + ([("page", str(self.page))] if self.page > 1 else [])

    def url(self) -> str:
        """Return the parameters as they stand in an address."""
        return urlencode(self.pairs())

    def on(self, page: int) -> Query:
        """Return the query for another page."""
        return replace(self, page=page)

    def sorted_by(self, sort: str) -> Query:
        """Return the query in another order, from its first page."""
        return replace(self, sort=sort, page=1)

    def toggled(self, facet: str, value: str) -> Query:
        """Return the query with one value of a facet added, or taken away where it was chosen; from its first page."""
        before = self.chosen.get(facet, ())
        after = tuple(sorted({*before} ^ {value}))
        chosen = {**self.chosen, facet: after}
        kept = {name: values for name, values in sorted(chosen.items()) if values}
        return replace(self, chosen=kept, page=1)

    def searching(self, text: str, within: tuple[str, ...] = ()) -> Query:
        """Return the query with another text, from its first page."""
        return replace(self, text=text[:MAX_TEXT].strip(), within=within, page=1)
