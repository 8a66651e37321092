import csv
import io
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import pytest

from safetycatch.sandbox.features import Features, normal_words
from safetycatch.sandbox.learners import PromptLearner
from safetycatch.sandbox.prompt import Example, Label, ReadPrompt
from safetycatch.sandbox.tickets import CLUSTER_ROWS, main, make_tickets, text_shingles, tickets_csv

TABLE = Path(__file__).parents[2] / "datasets" / "tickets" / "tickets.csv"


@pytest.fixture(scope="module")
def rows():
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_table_is_what_the_generator_makes(tmp_path):
    assert main([str(tmp_path / "out.csv")]) == 0
    assert (tmp_path / "out.csv").read_bytes() == TABLE.read_bytes()


def test_another_seed_makes_another_table_of_the_same_form():
    table = list(csv.DictReader(io.StringIO(tickets_csv(make_tickets(seed=3)))))
    assert (len(table), len({row["label"] for row in table})) == (640, 8)


def test_its_size_is_what_the_demo_says(rows):
    assert len(rows) == len({row["ticket_id"] for row in rows}) == 640
    assert len({row["label"] for row in rows}) == 8
    assert len({row["customer_id"] for row in rows}) == 61
    assert {row["language"] for row in rows} == {"en", "de", "es"}
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)


def test_fourteen_clusters_of_near_duplicates_and_no_other_likeness(rows):
    grams = [text_shingles(row["text"]) for row in rows]
    cluster = list(range(len(rows)))
    for left, right in combinations(range(len(rows)), 2):
        common = len(grams[left] & grams[right])
        likeness = common / (len(grams[left]) + len(grams[right]) - common)
        assert likeness < 0.6 or likeness >= 0.8 or cluster[left] == cluster[right]
        if likeness >= 0.8:
            old, new = cluster[right], cluster[left]
            cluster = [new if name == old else name for name in cluster]
    sizes = Counter(Counter(cluster).values())
    assert sizes == Counter({1: 640 - 33}) + Counter(CLUSTER_ROWS)


def test_near_duplicates_carry_one_label(rows):
    labels = defaultdict(set)
    for row in rows:
        labels[" ".join(normal_words(row["text"]))].add(row["label"])
    assert all(len(found) == 1 for found in labels.values())


def test_no_word_gives_a_label_away(rows):
    """The threshold of SC511: 98 % of 20 or more tickets."""
    labels = defaultdict(Counter)
    for row in rows:
        for word in set(normal_words(row["text"])):
            labels[word][row["label"]] += 1
    telling = {
        word for word, count in labels.items() if count.total() >= 20 and max(count.values()) >= 0.98 * count.total()
    }
    assert not telling


@pytest.mark.parametrize("column", ["customer_id", "language"])
def test_no_column_decides_the_label(rows, column):
    labels = defaultdict(Counter)
    for row in rows:
        labels[row[column]][row["label"]] += 1
    assert sum(max(count.values()) for count in labels.values()) / len(rows) < 0.4


def test_near_examples_help_by_ten_points_and_fixed_ones_by_less(rows):
    """A true effect: the learner gets nothing but the prompt, and customers never cross from pool to query."""
    labels = tuple(Label(name) for name in sorted({row["label"] for row in rows}))
    features = Features()
    learner = PromptLearner(features)
    right = Counter()
    for fold in range(5):
        held = [row for row in rows if int(row["customer_id"][1:]) % 5 == fold]
        pool = [row for row in rows if int(row["customer_id"][1:]) % 5 != fold][::4]
        for row in held:
            query = features(row["text"])
            near = sorted(pool, key=lambda other: -_overlap(query, features(other["text"])))[:8]
            for name, shots in (("zero", []), ("static8", pool[:8]), ("knn8", near)):
                examples = tuple(Example(shot["text"], shot["label"]) for shot in shots)
                right[name] += learner.answer(ReadPrompt(labels, examples, row["text"])) == row["label"]
    share = {name: count / len(rows) for name, count in right.items()}
    assert 0.5 < share["zero"] < 0.65
    assert share["knn8"] > share["zero"] + 0.10
    assert share["knn8"] > share["static8"] + 0.05


def _overlap(left, right):
    return sum(value * right.get(column, 0.0) for column, value in left.items())


def test_the_command_says_how_to_use_it(capsys):
    assert main([]) == 2
    assert "OUT.csv" in capsys.readouterr().err
