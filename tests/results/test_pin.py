import json
import subprocess
import sys

import pyarrow as pa
import pytest

from safetycatch.errors import SafetycatchError
from safetycatch.fewshot import Demonstrations, make_prompt, render, select
from safetycatch.results.pin import PARSERS, Pinned, pin_prompt
from safetycatch.results.standalone import standalone
from safetycatch.scoring import SCORERS, scorer
from safetycatch.settings import ShotSettings

NASTY = (
    '"""\nimport os; os.abort()\n"""',
    "'''; raise SystemExit #",
    "\\N{BULLET} \\x00 \\",
    "{0} {{ input }} %s ${HOME}",
    "\u202e\u2028\u0085\ufeff",
    "\x01\x1b[31m\r\n",
)
RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
import winner
rows, replies = json.load(sys.stdin)
print(json.dumps([[winner.messages(row) for row in rows], [winner.parse(reply) for reply in replies]]))
"""


def answers(folder, pinned, rows, replies):
    for file, text in pinned.files().items():
        (folder / file).write_text(text, encoding="utf-8")
    words = [sys.executable, "-I", "-S", "-X", "utf8", "-c", RUN, str(folder)]
    given = json.dumps([rows, replies])
    done = subprocess.run(words, input=given, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def table(rows):
    names = ("example_id", "input", "target")
    nothing = {name: [None] * len(rows) for name in ("group_id", "created_at", "given_split")}
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    made = {**columns, "input_kind": ["text"] * len(rows), **nothing}
    order = ("example_id", "input", "input_kind", "target", "group_id", "created_at", "given_split")
    return pa.table({name: pa.array(made[name], pa.string()) for name in order})


def pinned_of(prompt, labels, shots, pool, **more):
    constants, index = pin_prompt(prompt, labels, shots, pool, None, {"text": "text"})
    made = {"scorer": "accuracy", "labels": tuple(labels), "aliases": {}, "model": "m", "parameters": {}, **more}
    return Pinned(candidate="c", run_id="2026-01-01-x-1", version="0", prompt=constants, pool=index, **made)


@pytest.mark.parametrize("how", ["static", "bm25"])
def test_text_of_others_stays_text(tmp_path, how):
    pool = table([(f"{name}{number}", f"{name} and {number}", name) for number, name in enumerate(NASTY)])
    queries = table([(f"q{number}", f"ask {name} now", "") for number, name in enumerate(NASTY)])
    prompt = make_prompt('"""{{ labels | join }}""" \\ {{ input }} \' """')
    shots = ShotSettings(select=how, k=3)
    parameters = {"stop": [NASTY[0]], "temperature": 0.5, "logprobs": True, "seed": None}
    pinned = pinned_of(prompt, NASTY, shots, pool, model=NASTY[1], parameters=parameters)
    made, _ = answers(tmp_path, pinned, [{"text": row["input"]} for row in queries.to_pylist()], [])
    shown = Demonstrations(select(pool, queries, shots), pool, shots.name)
    rows = queries.to_pylist()
    assert made == [render(prompt, row, shown.of(row["example_id"]), labels=NASTY) for row in rows]


@pytest.mark.parametrize("name", [*PARSERS, "own:scorer"])
def test_replies_are_read_as_they_were_scored(tmp_path, name):
    labels, aliases = ("fee", "refund"), {"money back": "refund"}
    pinned = pinned_of(make_prompt("x"), labels, ShotSettings(), table([]), scorer=name, aliases=aliases)
    replies = ["Refund.", "label: fee", "money back", "fee or refund", "", " 1,000 ", '{"a": 1.0}', "the answer is B."]
    _, read = answers(tmp_path, pinned, [], replies)
    expected = replies if ":" in name else [scorer(name, labels=labels, aliases=aliases).parse(one) for one in replies]
    assert read == expected


def test_every_scorer_that_reads_replies_has_its_parser():
    readers = {name for name in SCORERS if scorer(name, labels=("a", "b")).kind != "resource"}
    assert readers == set(PARSERS)


def test_what_imports_another_package_does_not_stand_alone():
    with pytest.raises(SafetycatchError, match="must stand alone"):
        standalone([("safetycatch.fewshot.retrieval", "cosines")], frozenset())


def test_two_definitions_of_one_name_do_not_share_a_file():
    roots = [("safetycatch.scoring.exact", "_score"), ("safetycatch.scoring.contains", "_score")]
    with pytest.raises(SafetycatchError, match="two definitions of _score"):
        standalone(roots, frozenset())
