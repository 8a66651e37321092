"""Looks: who saw the scores of which test set, when and why. Rows are added, never changed.

A look is what was seen (`content`) under a claim's name; seeing the same content again is a replay, and no new look.
A test set was looked at before when half of its rows were, by sketches of their content.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from safetycatch.database import corrupt, refused, transaction
from safetycatch.errors import StoreError, UsageError
from safetycatch.identity import canonical_json, fingerprint
from safetycatch.store.ledger import KIND, LEDGER, MAX_NAME, LedgerFile
from safetycatch.store.records import in_utc
from safetycatch.store.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from safetycatch.store.artifacts import Store
    from safetycatch.store.records import StoredRun

SKETCH_SIZE = 64
SHARE_SEEN = 0.5
SHOWN = 3
MOST_RUNS = 10_000
# The rule that corrects for several candidates where the file names none.
CORRECTION = "holm"
# What fixes the scores; the other terms say how they are read.
SCORED_BY = ("metric", "rule", "members", "tie", "weights", "samples")
BEST_ON_DEV = "the best on dev"
# Between the two fingerprints of a content.
READ = ":"
# Who started a job, as the CI services tell it; the login name there is the runner's.
CI_USERS = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR", "CIRCLE_USERNAME")
_COLUMNS = "claim, content, purpose, run_id, who, looked_at, terms, candidates, n_items, sketch"


@dataclass(frozen=True, slots=True)
class Look:
    """Scores of a test split that somebody saw.

    `content` is the fingerprint of what was seen, `candidates` are those of the candidates, `terms` what the claim had
    fixed, `sketch` (`sketch_of`) and `n_items` name the test set, `who` is empty where nobody recorded it.
    """

    claim: str
    content: str
    purpose: str
    run_id: str
    who: str
    looked_at: datetime
    terms: dict[str, Any]
    candidates: tuple[str, ...]
    n_items: int
    sketch: tuple[str, ...]

    @property
    def told(self) -> str:
        """When, who and in which run, as people read it."""
        return f"{self.looked_at:%Y-%m-%d %H:%M} UTC by {self.who or 'somebody'} in {self.run_id}"


class Looks(LedgerFile):
    """The looks in the ledger of one store."""

    def record(self, look: Look, check: Callable[[list[Look]], None] | None = None) -> list[Look]:
        """Record a look unless this content was recorded for this claim and purpose; return all at this test set.

        `check` gets the looks so far while nobody else can add one: when it raises, nothing is recorded.
        Raises: StoreError when it could not be committed; what `check` raises.
        """
        try:
            with transaction(self._connection):
                before = self._on(look)
                if check is not None:
                    check(before)
                if not self._known(look):
                    self._insert(look)
                found = self._on(look)
            # From here on the file alone holds it: a -wal that is lost takes nothing along.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise refused(self.path, KIND, error) from None
        return found

    def on(self, look: Look) -> list[Look]:
        """Return the looks that saw at least half of the items of `look`, the first one first.

        Raises: StoreError when the ledger cannot be read.
        """
        try:
            return self._on(look)
        except sqlite3.Error as error:
            raise refused(self.path, KIND, error) from None

    def adopt(self, find: Callable[[], Iterable[Look]]) -> None:
        """Record the looks that `find` returns, oldest first, where there is none yet: all of them or none.

        Raises: StoreError when it could not be committed; what `find` raises.
        """
        try:
            if self._empty():
                found = list(find())
                with transaction(self._connection):
                    for look in found if self._empty() else []:
                        if not self._known(look):
                            self._insert(look)
        except sqlite3.Error as error:
            raise refused(self.path, KIND, error) from None

    def _empty(self) -> bool:
        return self._connection.execute("SELECT 1 FROM look LIMIT 1").fetchone() is None

    def _on(self, look: Look) -> list[Look]:
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM look ORDER BY look_id").fetchall()  # noqa: S608
        found = (self._read(row) for row in rows)
        return [one for one in found if share_seen(look, one) >= SHARE_SEEN]

    def _read(self, row: tuple[Any, ...]) -> Look:
        claim, content, purpose, run_id, who, looked_at, terms, candidates, n_items, sketch = row
        try:
            return Look(
                claim=claim,
                content=content,
                purpose=purpose,
                run_id=run_id,
                who=who,
                looked_at=datetime.fromisoformat(looked_at),
                terms=dict(json.loads(terms)),
                candidates=tuple(json.loads(candidates)),
                n_items=int(n_items),
                sketch=tuple(sketch.split()),
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise corrupt(self.path, KIND, f"a look of {claim}: {error}") from None

    def _known(self, look: Look) -> bool:
        statement = "SELECT 1 FROM look WHERE claim = ? AND content = ? AND purpose = ?"
        return self._connection.execute(statement, (look.claim, look.content, look.purpose)).fetchone() is not None

    def _insert(self, look: Look) -> None:
        newest = self._connection.execute("SELECT COALESCE(MAX(look_id), 0) FROM look").fetchone()[0]
        values = (
            newest + 1,
            look.claim,
            look.content,
            look.purpose,
            look.run_id,
            look.who,
            in_utc(look.looked_at).isoformat(timespec="seconds"),
            canonical_json(look.terms).decode(),
            canonical_json(look.candidates).decode(),
            look.n_items,
            " ".join(look.sketch),
        )
        marks = ", ".join("?" * len(values))
        self._connection.execute(f"INSERT INTO look (look_id, {_COLUMNS}) VALUES ({marks})", values)  # noqa: S608


def contents(looks: Iterable[Look], claim: str | None = None) -> list[str]:
    """Return the different contents that were looked at, by one claim or by all, the first one first.

    Looks older than what a content says of effect and guardrails (`content_of`) hold the scores alone. What they were
    read by is not known, so that they are the content that a later look has at the same scores, not one more.
    """
    found = dict.fromkeys(look.content for look in looks if claim in (None, look.claim))
    told = {scores_of(content) for content in found if scores_of(content) != content}
    return [content for content in found if content not in told]


def is_replay(content: str, before: Iterable[str]) -> bool:
    """Whether a content is one of the `contents` seen before."""
    return not {content, scores_of(content)}.isdisjoint(before)


def scores_of(content: str) -> str:
    """Return the part of a content that names the scores, without what they are read by."""
    return content.partition(READ)[0]


def distinct(looks: Iterable[Look], claim: str | None = None) -> int:
    """Return how many different contents were looked at, by one claim or by all: a replay is none."""
    return len(contents(looks, claim))


def looks_text(looks: Sequence[Look], claim: str) -> str:
    """Return how often a test set was looked at, by this claim and by all, and the newest looks, as people read it."""
    newest = "; ".join(f"{look.purpose} {look.claim}, {look.told}" for look in reversed(looks[-SHOWN:]))
    return f"{distinct(looks, claim)} by {claim}, {distinct(looks)} over all claims. The newest: {newest}"


def sketch_of(contents: Iterable[str]) -> tuple[str, ...]:
    """Return the sketch of a set of items: the 64 smallest of their content hashes (`results.matrix.hash_of`)."""
    return tuple(sorted(set(contents))[:SKETCH_SIZE])


def share_seen(now: Look, before: Look) -> float:
    """Return the share of the items of `now` that `before` saw, 0 to 1, estimated from sketches; exact up to 64 items.

    The smallest hashes of both together are a random sample of their union: its shared part estimates the Jaccard
    similarity, which with both sizes gives the containment.
    Source: Broder 1997, On the Resemblance and Containment of Documents (bottom-k sketches of one hash function).
    """
    smallest = set(sorted({*now.sketch, *before.sketch})[:SKETCH_SIZE])
    if not smallest or not now.n_items:
        return 0.0
    jaccard = len(smallest.intersection(now.sketch, before.sketch)) / len(smallest)
    return min(1.0, jaccard / (1 + jaccard) * (now.n_items + before.n_items) / now.n_items)


def content_of(
    *,
    items: str,
    candidates: Iterable[str],
    terms: Mapping[str, Any],
    replicates: int,
    chosen_by: str = "",
    source: str = "",
) -> str:
    """Return the fingerprints of what a look sees, scores and what they are read by; the same ones are a replay.

    `items` and `candidates` are fingerprints (`Prepared.items_key`, `Prepared.candidate_keys`; with a race, of all who
    enter it), `chosen_by` is that of the dev items and rungs that choose among them or fit weights, `source` that of an
    own metric's code. How p-values are corrected changes no score, so it is no part. The same scores read by another
    smallest effect or other guardrails can end in another verdict, so these are the second fingerprint.
    """
    seen = {name: terms[name] for name in SCORED_BY if terms.get(name) is not None}
    return read_by(fingerprint(items, sorted(set(candidates)), seen, replicates, chosen_by, source), terms)


def read_by(scores: str, terms: Mapping[str, Any]) -> str:
    """Return the content of a look at `scores`, which says what they are read by."""
    return f"{scores_of(scores)}{READ}{fingerprint([terms.get(name) for name in ('smallest_effect', 'guardrails')])}"


def terms_of(config: Mapping[str, Any], names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what a claim fixes before its results exist, of an experiment's JSON; `names` are those whom test sees.

    Metric, aggregation, correction, smallest effect, guardrails, baseline, who is claimed, and the candidates where
    they are known. What the file leaves open is said as it is done: the best member decides ties, weights are fitted
    on dev. A stored run is no name that could change: a night's baseline is another run each time.
    """
    claim, aggregate = config.get("claim") or {}, config.get("aggregate") or {}
    laddered = bool((config.get("runs") or {}).get("ladder"))
    own = [candidate["id"] for candidate in config.get("candidates") or ()]
    own += [aggregate["id"]] if aggregate.get("id") else []
    named = claim.get("baseline") or (own[0] if own else None)
    rivals = [name for name in own if name != named]
    best = BEST_ON_DEV if laddered else "the best on test"
    if names is None and not laddered:
        names = own
    rule, members, tie, weights = (aggregate.get(name) for name in ("rule", "members", "tie", "weights"))
    return {
        "metric": claim.get("metric"),
        "rule": rule,
        "members": sorted(members) if members else None,
        "tie": tie or ("best" if rule and rule != "self_consistency" else None),
        "weights": weights or ("dev" if rule == "weighted" else None),
        "samples": aggregate.get("samples"),
        "correction": claim.get("correction") or CORRECTION,
        "smallest_effect": _size(claim.get("smallest_effect")),
        "guardrails": sorted(f"{rail['metric']} by {_size(rail['worse_by'])}" for rail in claim.get("guardrails") or ())
        or None,
        "baseline": named if named in own else named and "a stored run",
        "candidate": claim.get("candidate") or (rivals[0] if len(rivals) == 1 else best),
        **({} if names is None else {"candidates": sorted(names)}),
    }


def _size(amount: Mapping[str, Any] | None) -> str | None:
    """Return a smallest effect or limit as it could be typed."""
    if amount is None:
        return None
    value = float(amount["value"])
    return f"{100 * value:.12g}%" if amount.get("relative") else f"{value:.12g}"


def looker() -> str:
    """Return who looks: the person whom the CI service names, else the login name, else the user's number."""
    names = [os.environ[name] for name in CI_USERS if os.environ.get(name)]
    with contextlib.suppress(OSError, KeyError, ImportError):
        names.append(getpass.getuser())
    name = "".join(char for char in (names or [f"uid {os.getuid()}"])[0] if char.isprintable())
    return name.strip()[:MAX_NAME] or "nobody"


def looks_of(store: Store) -> Looks:
    """Open the looks in a store's ledger; where it holds none yet, those of the stored runs are entered first.

    So the looks of runs older than the ledger count, and moving the ledger away on purpose forgets none of them.
    Raises: StoreError when the ledger is damaged, comes from a newer version, or cannot be written.
    """
    looks = Looks.open(store.root / LEDGER)
    try:
        looks.adopt(lambda: _stored(store))
    except BaseException:
        looks.close()
        raise
    return looks


def _stored(store: Store) -> Iterator[Look]:
    for run in reversed(Runs(store).ls(limit=MOST_RUNS)):
        # A run that cannot be read shows nothing; `verify` names it.
        with contextlib.suppress(StoreError, UsageError):
            purpose = "gate" if run.summary.get("command", "").startswith("safetycatch gate ") else "claim"
            look = look_of_run(run, purpose, "", run.finished_at or store.clock())
            if look is not None:
                yield look


def look_of_run(run: StoredRun, purpose: str, who: str, now: datetime) -> Look | None:
    """Return the look that seeing a stored run's scores is; None where it shows none of a test split.

    What runs older than looks saw is read from what they say of themselves.
    Raises: StoreError when its items are damaged.
    """
    summary, config = run.summary, run.manifest.get("config") or {}
    if run.status != "done" or not config.get("claim") or not summary.get("items"):
        return None
    terms = terms_of(config, summary.get("names"))
    if summary.get("look"):
        content = read_by(summary["look"], terms)
    else:
        content = content_of(
            items=summary["items"],
            candidates=summary.get("raced") or summary["candidates"],
            terms=terms,
            replicates=(config.get("runs") or {}).get("replicates", 1),
        )
    items = set(run.table("items", ["content"])["content"].to_pylist())
    return Look(
        claim=run.name,
        content=content,
        purpose=purpose,
        run_id=run.run_id,
        who=who,
        looked_at=now,
        terms=terms,
        candidates=tuple(summary["candidates"]),
        n_items=len(items),
        sketch=sketch_of(items),
    )


def record_seen(store: Store, run: StoredRun, purpose: str, who: str, now: datetime) -> list[Look]:
    """Record that somebody sees a stored run's scores; return all looks at its test set, empty for a dev run.

    For `compare` of stored runs: `record_seen(store, run, "compare", looker(), now)` before the scores are shown. What
    the run itself recorded is recorded once more, with this purpose, and never counted twice.
    Raises: StoreError when the ledger or the run's items are damaged.
    """
    look = look_of_run(run, purpose, who, now)
    if look is None:
        return []
    with looks_of(store) as looks:
        return looks.record(look)
