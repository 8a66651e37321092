"""Subsamples of the public sets as a user would set them up: rows, an experiment, and recorded answers of real models.

Every subsample respects the groups of its set. Answers are the recorded ones where a set has them; for the text
classification sets three small classifiers are trained on rows that no subsample contains.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2] / "shared" / "data"
SMALLEST, LARGEST = 200, 3000
LABEL_PROMPT = (
    "Answer with one of these labels and nothing else:\n{% for label in labels %}\n- {{ label }}\n{% endfor %}\n"
)
HELD_OUT, LEARN_ROWS = 0.25, 4000  # what the classifiers learn from: rows of a quarter of the groups

Frame = pd.DataFrame
Rng = np.random.Generator


@dataclass(frozen=True)
class Subsample:
    """One user's data: `rows` with the columns that `experiment` names, `outputs` of recorded candidates."""

    name: str
    rows: Frame
    experiment: dict[str, Any]
    outputs: Frame | None = None
    prompt: str = ""
    claiming_only: bool = False
    notes: dict[str, Any] = field(default_factory=dict)


def size_of(rng: Rng, most: int = LARGEST) -> int:
    """Return a number of rows, log-uniform between 200 and 3,000 (or what there is)."""
    return int(np.exp(rng.uniform(np.log(SMALLEST), np.log(min(most, LARGEST)))))


def whole_groups(frame: Frame, group: str | None, n: int, rng: Rng) -> Frame:
    """Return about `n` rows made of whole groups, in the order of the file."""
    if group is None:
        return frame.iloc[np.sort(rng.permutation(len(frame))[:n])]
    sizes = frame[group].value_counts(sort=False)
    order = sizes.iloc[rng.permutation(len(sizes))]
    total = order.cumsum()
    kept = order.index[(total <= n) | (total.shift(fill_value=0) < SMALLEST)]
    return frame[frame[group].isin(set(kept))]


@lru_cache
def read(name: str, file: str) -> Frame:
    """Return a file of a set."""
    return pd.read_parquet(ROOT / name / f"{file}.parquet")


@lru_cache
def _intents(name: str) -> Frame:
    frame = read(name, name)
    frame = frame[frame.text.str.strip() != ""].copy()
    frame["characters"] = np.where(frame.text.str.len() < frame.text.str.len().median(), "short", "long")
    return frame


@lru_cache
def _irc() -> Frame:
    frame = read("irc_threads", "messages")
    starts = read("irc_threads", "replies").groupby("message_id").starts_conversation.any()
    frame = frame[frame.annotated & (frame.text.str.strip() != "")].copy()
    frame["target"] = np.where(frame.message_id.map(starts).fillna(value=False), "start", "reply")
    written = frame.user.map(frame.user.value_counts())
    frame["author"] = np.where(written < 8, "newcomer", "regular")
    frame["year"] = frame.timestamp.dt.year.astype(str)
    return frame


@lru_cache
def _features(name: str) -> tuple[pd.Index, Any]:
    from sklearn.feature_extraction.text import HashingVectorizer

    frame = _irc() if name == "irc_threads" else _intents(name)
    words = HashingVectorizer(n_features=2**16, ngram_range=(1, 2), alternate_sign=False)
    return frame.index, words.fit_transform(frame.text)


def _predicted(name: str, train: Frame, asked: Frame, target: str) -> dict[str, np.ndarray]:
    """Return the labels that three classifiers give the rows `asked`, after learning from `train`."""
    from sklearn.naive_bayes import BernoulliNB, ComplementNB
    from sklearn.neighbors import KNeighborsClassifier

    index, features = _features(name)
    x, y = features[index.get_indexer(train.index)], train[target].to_numpy(str)
    wanted = features[index.get_indexer(asked.index)]
    found: dict[str, np.ndarray] = {}
    for label, model in (
        ("bayes", BernoulliNB()),
        ("neighbour", KNeighborsClassifier(1, algorithm="brute")),
        ("complement", ComplementNB()),
    ):
        found[label] = model.fit(x, y).predict(wanted)
    return found


def _recorded(ids: pd.Series, columns: dict[str, Any]) -> Frame:
    return pd.concat(
        [pd.DataFrame({"example_id": ids.to_numpy(str), "candidate": n, "output": c}) for n, c in columns.items()]
    )


def _split(rng: Rng, *, time: bool = False, whole: bool = False) -> dict[str, Any]:
    """Return one of the own splits that people ask for, with a seed of its own."""
    kinds: list[dict[str, Any]] = [{}, {}, {"train": 0.6, "dev": 0.2, "test": 0.2}, {"dev": 0.3, "test": 0.7}]
    kinds += [{"by": "time"}] * 2 if time else []
    kinds += [{"test": 1}] if whole else []
    return {**kinds[rng.integers(len(kinds))], "seed": int(rng.integers(1, 10_000))}


def _claim(rng: Rng, metrics: list[str]) -> dict[str, Any]:
    return {"metric": str(rng.choice(metrics)), "smallest_effect": f"{rng.choice([2, 3, 5])} points"}


def _live(split: dict[str, Any]) -> bool:
    """Whether the split leaves training rows to show."""
    return split.get("train", 1 if "test" not in split else 0) > 0


def _candidates(rng: Rng, split: dict[str, Any], names: list[str], *, live: bool) -> dict[str, Any]:
    """Return the candidates: recorded ones, or three prompts to the sandbox's learner."""
    if live and _live(split):
        k = int(rng.choice([2, 4, 8]))
        shots = [{"id": "zero"}] + [{"id": f"{how}{k}", "shots": {"select": how, "k": k}} for how in ("static", "knn")]
        return {
            "defaults": {"prompt": "ask.md", "model": "sandbox/in-context", "params": {"temperature": 0}},
            "candidates": shots,
        }
    chosen = rng.permutation(names)[: rng.integers(2, len(names) + 1)]
    return {"candidates": [{"id": str(name), "outputs": "outputs.parquet"} for name in chosen]}


def _texts(
    name: str, frame: Frame, target: str, group: str | None, rng: Rng, *, live: bool, time: str | None, slices: str
) -> Subsample:
    n = min(size_of(rng), int((1 - HELD_OUT) * len(frame)))
    key = frame[group] if group else frame.item_id
    fixed = pd.util.hash_array(key.to_numpy(object)) / 2.0**64
    learn, rest = frame[fixed < HELD_OUT].head(LEARN_ROWS), frame[fixed >= HELD_OUT]
    rows = whole_groups(rest, group, n, rng)
    split = _split(rng, time=time is not None)
    outputs = _recorded(rows.item_id, _predicted(name, learn, rows, target))
    data = {"path": "rows.parquet", "id": "item_id", "input": "text", "target": target}
    data |= {"group": group} if group else {}
    data |= {"time": time} if time else {}
    data |= {"slices": [slices]} if rng.random() < 0.5 else {}
    metrics = ["accuracy", "accuracy", "macro_f1"] if len(set(rows[target])) > 2 else ["balanced_accuracy", "accuracy"]
    experiment = {
        "data": data,
        "task": "classify",
        "split": split,
        **_candidates(rng, split, ["bayes", "neighbour", "complement"], live=live),
        "claim": _claim(rng, metrics),
    }
    columns = dict.fromkeys(["item_id", "text", target, *([group] if group else []), *([time] if time else []), slices])
    return Subsample(name, rows[list(columns)], experiment, outputs, LABEL_PROMPT)


def intents(name: str, rng: Rng, *, live: bool) -> Subsample:
    """Return a subsample of banking77 or snips with some or all of its labels."""
    frame = _intents(name)
    labels = sorted(set(frame.label))
    kept = rng.permutation(labels)[: int(rng.choice([4, 7] if name == "snips" else [5, 10, 20, 40, 77]))]
    return _texts(name, frame[frame.label.isin(kept)], "label", None, rng, live=live, time=None, slices="characters")


def messages(rng: Rng, *, live: bool) -> Subsample:
    """Return whole conversations (does a message start one?), or whole users (is the author a newcomer?)."""
    frame = _irc().rename(columns={"message_id": "item_id"})
    target, group = [("target", "conversation_id"), ("author", "user")][rng.integers(2)]
    return _texts("irc_threads", frame, target, group, rng, live=live, time="timestamp", slices="year")


def problems(rng: Rng) -> Subsample:
    """Return GSM8K items with the recorded solutions of two to four models."""
    items, solutions = read("gsm8k", "items"), read("gsm8k", "model_solutions")
    frame = items[items.split == "test"].copy()
    frame["steps"] = frame.answer.str.count("<<").clip(upper=5).astype(str)
    rows = whole_groups(frame, None, size_of(rng, len(frame)), rng)
    split = _split(rng, whole=True)
    outputs = solutions.rename(columns={"item_id": "example_id", "model": "candidate", "solution": "output"})
    data = {"path": "rows.parquet", "id": "item_id", "input": "question", "target": "final_answer"}
    data |= {"slices": ["steps"]} if rng.random() < 0.5 else {}
    names = [f"m{name}" for name in sorted(set(outputs.candidate))]
    outputs["candidate"] = "m" + outputs.candidate
    experiment = {
        "data": data,
        "split": split,
        **_candidates(rng, split, names, live=False),
        "claim": _claim(rng, ["numeric"]),
    }
    columns = ["item_id", "question", "final_answer", "steps"]
    kept = outputs[outputs.example_id.isin(set(rows.item_id))][["example_id", "candidate", "output"]]
    return Subsample("gsm8k", rows[columns], experiment, kept, claiming_only=split.get("test") == 1)


def tasks(rng: Rng) -> Subsample:
    """Return BIG-Bench Hard: one task, or a mix of tasks; direct answers against chain of thought."""
    items, made = read("bbh_direct_vs_cot", "items"), read("bbh_direct_vs_cot", "model_outputs")
    made = made.assign(candidate=made.system.str.rpartition("-")[2])
    sizes = items.task.value_counts()
    one = rng.random() < 0.5
    names = rng.permutation(sizes.index[sizes >= SMALLEST]) if one else rng.permutation(sizes.index)
    kept = names[:1] if one else names[: rng.integers(3, len(names) + 1)]
    frame = items[items.task.isin(kept)]
    rows = whole_groups(frame, None, size_of(rng, len(frame)), rng)
    grouped = not one and len(kept) >= 10 and rng.random() < 0.3
    if grouped:
        rows = whole_groups(frame, "task", max(len(rows), 2000), rng)
    split = {"dev": 0.2, "test": 0.8, "seed": int(rng.integers(1, 10_000))} if grouped else _split(rng, whole=True)
    labelled = one and frame.target.nunique() <= 10
    data: dict[str, Any] = {"path": "rows.parquet", "id": "item_id"}
    data |= {"slices": ["task"]} if not one else {}
    data |= {"group": "task"} if grouped else {}
    outputs = made.rename(columns={"item_id": "example_id"})
    outputs["output"] = outputs.extracted_answer if labelled else outputs.completion
    experiment = {
        "data": data,
        "task": "classify" if labelled else "answer",
        "split": split,
        **_candidates(rng, split, ["direct", "cot"], live=False),
        "claim": _claim(rng, ["accuracy"] if labelled else ["final_answer"]),
    }
    outputs = outputs[outputs.example_id.isin(set(rows.item_id))][["example_id", "candidate", "output"]]
    return Subsample("bbh", rows, experiment, outputs, claiming_only=split.get("test") == 1)


def judgements(rng: Rng) -> Subsample:
    """Return PandaLM: two recorded judges against the majority of three people; the instruction is the group."""
    items, people = read("pandalm_judge", "items"), read("pandalm_judge", "human_labels")
    majority = people.groupby("item_id").label.agg(lambda labels: labels.value_counts().index[0])
    frame = items.assign(target=items.item_id.map(majority))
    rows = whole_groups(frame, "instruction", size_of(rng, len(frame)), rng)
    split = _split(rng, whole=True)
    judges = read("pandalm_judge", "judge_labels").rename(
        columns={"item_id": "example_id", "judge": "candidate", "raw_label": "output"}
    )
    judges["candidate"] = judges.candidate.map(lambda name: re.sub(r"[^a-z0-9]+", "-", name.lower()))
    data: dict[str, Any] = {
        "path": "rows.parquet",
        "id": "item_id",
        "input": ["instruction", "input", "response_1", "response_2"],
        "group": "instruction",
    }
    data |= {"slices": [str(rng.choice(["motivation_app", "model_1"]))]} if rng.random() < 0.5 else {}
    experiment = {
        "data": data,
        "task": "classify",
        "labels": {"1": [], "2": [], "tie": ["0"]},
        "split": split,
        **_candidates(rng, split, sorted(set(judges.candidate)), live=False),
        "claim": _claim(rng, ["accuracy", "balanced_accuracy"]),
    }
    kept = judges[judges.example_id.isin(set(rows.item_id))][["example_id", "candidate", "output"]]
    return Subsample("pandalm", rows, experiment, kept, claiming_only=split.get("test") == 1)


def subsample(number: int, seed: int) -> Subsample:
    """Return the subsample of this number; every fourth of a text set is answered live by the sandbox."""
    rng = np.random.default_rng([seed, number])
    turn, live = number % 8, (number // 8) % 4 == 0
    if turn in {0, 1}:
        return intents("banking77", rng, live=live)
    if turn == 2:
        return intents("snips", rng, live=live)
    if turn in {3, 4}:
        return messages(rng, live=live)
    return (problems, tasks, judgements)[turn - 5](rng)
