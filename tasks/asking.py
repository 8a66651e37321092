"""What an ensemble asks besides its members' answers: further samples of one, and whoever decides ties."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safetycatch.ensembles import samples_to_ask
from tasks.calling import read_table, requests_of, scorers_of, shard_rows
from tasks.counts import FAILED, added_counts, answer_all
from tasks.evaluate import row_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from safetycatch.calls import Reply, Request
    from tasks.stage import Place

Key = tuple[str, int]
Row = dict[str, Any]


@dataclass(slots=True)
class Asked:
    """Answers to further requests: `samples` by item and round (the member's own first), `of_ties` by item.

    `calls` are the engine's counts (None: nothing was asked), `n_failed` answers did not come.
    """

    samples: dict[str, list[list[Row]]] = field(default_factory=dict[str, list[list[Row]]])
    of_ties: dict[Key, Row] = field(default_factory=dict[Key, Row])
    calls: dict[str, Any] | None = None
    cache_saved_usd: float = 0.0

    def further(self) -> Iterable[Row]:
        """The rows that were asked for, all but the member's own."""
        yield from (row for rounds in self.samples.values() for asked in rounds[1:] for row in asked)
        yield from self.of_ties.values()

    @property
    def n_asked(self) -> int:
        """How many answers were asked for."""
        return sum(1 for _ in self.further())

    @property
    def n_failed(self) -> int:
        """How many of them infrastructure failed."""
        return sum(row["status"] in FAILED for row in self.further())

    def answer(
        self, place: Place, settings: dict[str, Any], entry: dict[str, Any], requests: Iterable[Request], label: str
    ) -> list[Row]:
        """Return the rows that answer `requests`, in no order; calls are counted here."""
        parse, rows = scorers_of(place, settings)[0].parse, list[Row]()

        def keep(request: Request, reply: Reply) -> None:
            rows.append(row_of(request, reply, parse))
            self.cache_saved_usd += reply.cache_saved_usd or 0.0

        found = answer_all(place, [entry], label, requests, keep)
        self.calls = found if self.calls is None else added_counts([self.calls, found])
        return rows


def cost_of(rows: Sequence[Row]) -> float | None:
    """Return the sum of what the rows cost, US dollars; None where an answer's price is not known."""
    if any(row["cost_usd"] is None and row["status"] not in FAILED for row in rows):
        return None
    return sum(row["cost_usd"] or 0.0 for row in rows)


def ask_samples(
    place: Place,
    settings: dict[str, Any],
    members: Mapping[str, Mapping[Key, Row]],
    examples: dict[str, Any],
    shots: dict[str, Any] | None,
    shown: dict[str, Any],
) -> Asked:
    """Return a member's samples, its own answer the first: in rounds, only of items whose leader can be caught."""
    found, entry = Asked(), settings["member"]
    if entry is None:
        return found
    (own,) = members.values()
    found.samples = {example_id: [[own[example_id, 0]]] for example_id in settings["ids"]}
    items = {row["example_id"]: row for row in shard_rows(read_table(place, examples), settings["ids"])}
    while True:
        have: dict[str, int] = {}
        want: dict[str, int] = {}
        for example_id, rounds in found.samples.items():
            rows = [row for asked in rounds for row in asked]
            counts = Counter(row["parsed"] for row in rows if row["parsed"] is not None)
            have[example_id] = len(rows)
            want[example_id] = len(rows) + samples_to_ask(counts, len(rows), settings["samples"])
        asking = [items[example_id] for example_id in want if want[example_id] > have[example_id]]
        if not asking:
            return found
        requests = (
            request
            for request in requests_of(place, entry, asking, shots, shown, settings["samples"])
            if have[request.example_id] <= request.replicate < want[request.example_id]
        )
        rows = found.answer(place, settings, entry, requests, settings["id"])
        for item in asking:
            found.samples[item["example_id"]].append([])
        for row in sorted(rows, key=lambda row: row["replicate"]):
            found.samples[row["example_id"]][-1].append(row)


def ask_about_ties(
    place: Place, settings: dict[str, Any], ties: Mapping[Key, tuple[str, ...]], examples: dict[str, Any]
) -> Asked:
    """Return the judge's answers about tied items; of labels it is shown those that are tied."""
    found, judge = Asked(), settings["judge"]
    if judge is None or not ties:
        return found
    by_tied: dict[tuple[str, ...], list[str]] = {}
    for (example_id, _), tied in ties.items():
        by_tied.setdefault(tied if settings["task"] == "classify" else (), []).append(example_id)

    def requests() -> Iterable[Request]:
        table = read_table(place, examples)
        for tied, ids in sorted(by_tied.items()):
            entry = {**judge, "labels": list(tied)} if tied else judge
            rows = shard_rows(table, list(dict.fromkeys(ids)))
            for request in requests_of(place, entry, rows, None, examples, settings["replicates"]):
                if ties.get((request.example_id, request.replicate)) and (
                    not tied or ties[request.example_id, request.replicate] == tied
                ):
                    yield request

    for row in found.answer(place, settings, judge, requests(), judge["candidate"]["id"]):
        found.of_ties[row["example_id"], row["replicate"]] = row
    return found
