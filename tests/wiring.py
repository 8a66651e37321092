"""A project whose rows and settings a test changes, and whose candidates are functions that count their calls."""

import copy
import csv
import json
import random
import sqlite3
import sys
from contextlib import closing
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from flows.chain import as_function
from flows.evaluate import run_experiment
from flows.preview import preview
from safetycatch.errors import RefusedError
from safetycatch.store import Runs, Store
from tasks.session import WATCHER, Watcher

CLEAN = {
    "data": {"path": "rows.csv", "id": "id", "input": "text", "target": "label", "slices": ["lang"]},
    "task": "classify",
    "split": {"test": 1},
    "candidates": [
        {"id": "a", "call": "wired:a", "max_cost_usd": 0.001},
        {"id": "b", "call": "wired:b", "max_cost_usd": 0.001},
    ],
    "claim": {"metric": "accuracy", "smallest_effect": "30 points"},
    "budget": {"usd": 1, "calls": 2000},
}
BOX = {"endpoint": "box", "model": "in-context"}
WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "lmnrst"]


def rows(n=100):
    """Texts that say nothing about their label, and resemble each other in nothing."""
    draw = random.Random(5)
    return [
        {
            "id": f"R{number:03d}",
            "text": " ".join(draw.choices(WORDS, k=9)),
            "label": "refund" if number % 2 else "delivery",
            "lang": draw.choice(["de", "en"]),
        }
        for number in range(n)
    ]


class Project:
    """A project of `rows` and `config`, both to be changed, whose candidates `wired:NAME` count their calls."""

    def __init__(self, folder, patch):
        self.folder, self.rows, self.config, self.calls, self.answers = folder, rows(), copy.deepcopy(CLEAN), [], {}
        self.say, self.patch = None, patch
        (folder / "safetycatch.yaml").write_text("")
        self._module = ModuleType("wired")
        for name, share in (("a", 55), ("b", 80), ("c", 70)):
            self.add(name, share)
        patch.setitem(sys.modules, "wired", self._module)

    def add(self, name, share):
        """Make `wired:name` a function that answers `share` per cent of the rows right."""
        self.answers[name] = self.right(share)
        setattr(self._module, name, self._function(name))

    def _function(self, name):
        def answer(row):
            self.calls.append(name)
            return self.answers[name](row)

        return answer

    def right(self, share):
        """Answers `share` per cent of the rows right."""

        def answer(row):
            number = int(row["example_id"][1:])
            right = number * 37 % 100 < share
            return "refund" if bool(number % 2) == right else "delivery"

        return answer

    def failing(self, share, error=ValueError):
        """Fails at `share` per cent of the rows."""

        def answer(row):
            if int(row["example_id"][1:]) * 37 % 100 >= 100 - share:
                raise error("planted")
            return self.right(80)(row)

        return answer

    def write(self, name="rows.csv", of=None):
        """Write rows, by default this project's, as CSV."""
        of = self.rows if of is None else of
        with (self.folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(of[0]))
            writer.writeheader()
            writer.writerows(of)

    def path(self):
        self.write()
        (self.folder / "e.yaml").write_text(json.dumps(self.config))
        return self.folder / "e.yaml"

    def record(self, *, lost=0, **more):
        """Make every candidate's answers recorded ones, the last few lost; `more` changes the first row."""
        of = [
            {"example_id": row["id"], "candidate": key, "output": self.answers[key]({"example_id": row["id"]})}
            for key in ("a", "b")
            for row in self.rows
        ]
        for key, cell in more.items():
            of = [{**row, key: ""} for row in of]
            of[0][key] = cell
        self.write("old.csv", of[: len(of) - lost])
        self.config["candidates"] = [{"id": key, "outputs": "old.csv"} for key in ("a", "b")]

    def model(self, **more):
        """Make the candidates one model with a prompt, and without."""
        (self.folder / "route.md").write_text("Route the ticket. One of: {{ labels | join(', ') }}.\n")
        (self.folder / "short.md").write_text("One of: {{ labels | join(', ') }}.\n")
        model = {"model": "sandbox/in-context", **more}
        self.config["candidates"] = [
            {"id": "a", "prompt": "short.md", **model},
            {"id": "b", "prompt": "route.md", **model},
        ]

    def given(self):
        """Say the split in a column: thirds."""
        self.rows = [{**row, "split": ("train", "dev", "test")[number % 3]} for number, row in enumerate(self.rows)]
        self.config["split"] = {"column": "split"}

    def check(self):
        found = preview(self.path())
        return {finding.code: finding for finding in found.findings}

    def run(self, call=as_function, **options):
        token = WATCHER.set(Watcher(say=self.say))
        try:
            return run_experiment(self.path(), call=call, **options)
        finally:
            WATCHER.reset(token)

    def findings(self, **options):
        return {row["code"]: row for row in self.run(**options)["findings"]}

    def refused(self, **options):
        """The codes that refuse the run."""
        with pytest.raises(RefusedError) as caught:
            self.run(**options)
        return {finding.code: finding for finding in caught.value.findings}

    @property
    def store(self):
        return self.folder / ".safetycatch"

    def stored(self):
        """The newest run."""
        return Runs(Store.open(self.store)).ls(1)[0]

    def sent(self):
        """Calls that the journal knows of."""
        path = self.store / "calls.db"
        if not path.exists():
            return 0
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
            return journal.execute("SELECT count(*) FROM intent").fetchone()[0]

    def splits(self):
        """The split of every row, from the newest artifact."""
        newest = max((self.store / "artifacts" / "split").glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
        return {row["example_id"]: row["split"] for row in pq.read_table(newest).to_pylist()}
