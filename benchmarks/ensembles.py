"""Votes of public crowds and recorded judges against the truth: majority, weighted, Dawid-Skene; what errors share.

`python benchmarks/ensembles.py` reads `crowd_labels` and `pandalm_judge` from ../shared/data.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

from safetycatch.ensembles import (
    Record,
    dawid_skene,
    effective_voters,
    error_correlation,
    fold_of,
    majority_vote,
    vote_weight,
    weighted_vote,
    without_own_fold,
)

DATA = Path(__file__).parents[1] / "../shared/data"
SEED = 7
CROWDS = ("rte", "bluebird", "dog", "sentiment_sp")
N_ROWS, N_VOTERS, ACCURACY = 100_000, 5, 0.7


def main() -> None:
    """Print a row a data set, then the time that 500,000 votes take."""
    print("set           items voters  single  best  majority  weighted  Dawid-Skene  rho   effective of votes an item")
    labels, gold = (pd.read_parquet(DATA / f"crowd_labels/{name}.parquet") for name in ("labels", "gold"))
    for name in CROWDS:
        votes = labels[labels.dataset == name].rename(columns={"item_id": "example_id", "worker_id": "annotator"})
        own = gold[gold.dataset == name]
        measured(name, votes, dict(zip(own.item_id, own.gold, strict=True)))
    humans = pd.read_parquet(DATA / "pandalm_judge/human_labels.parquet").rename(columns={"item_id": "example_id"})
    agreed = majority_vote(humans)
    truth = {item: label for item, label in agreed.winners.items() if label is not None}
    judges = pd.read_parquet(DATA / "pandalm_judge/judge_labels.parquet")
    judges = judges.rename(columns={"item_id": "example_id", "judge": "annotator"})
    measured("pandalm", judges[judges.example_id.isin(list(truth))], truth)
    timed()


def measured(name: str, votes: pd.DataFrame, truth: dict[str, str]) -> None:
    """Print how often each rule is right; a tie counts as its chance to be right, weights are cross-fitted by item."""
    classes = sorted(set(truth.values()))
    wide = votes.pivot_table(index="example_id", columns="annotator", values="label", aggfunc="first")
    right = wide.eq(pd.Series(truth).reindex(wide.index), axis=0).where(wide.notna())
    voters = [str(voter) for voter in wide.columns]
    fold = fold_of(map(str, wide.index), SEED)
    folds = np.array([fold[str(item)] for item in wide.index])
    records = [
        {
            voter: Record(int(np.nansum(column[folds == at])), n := int((~np.isnan(column[folds == at])).sum()), n)
            for voter, column in zip(voters, right.to_numpy(dtype=float).T, strict=True)
        }
        for at in range(int(folds.max()) + 1)
    ]
    weighted: dict[str, float] = {}
    for at, others in enumerate(without_own_fold(records)):
        weights = {voter: vote_weight(one.n_right, one.n_cast, len(classes)) for voter, one in others.items()}
        held = votes[votes.example_id.isin(list(wide.index[folds == at]))]
        weighted |= chances(weighted_vote(held, weights), truth)
    wrong = 1 - right.to_numpy(dtype=float)
    # Of crowds, few pairs saw the same items: only voters with 20 answers are compared.
    rho = error_correlation(wrong[:, (~np.isnan(wrong)).sum(axis=0) >= 20]).mean
    per_item = len(votes) / len(wide)
    best = max(np.nanmean(column) for column in right.to_numpy(dtype=float).T if (~np.isnan(column)).sum() >= 100)
    figures = (
        np.nanmean(right.to_numpy(dtype=float)),
        best,
        np.mean(list(chances(majority_vote(votes), truth).values())),
        np.mean(list(weighted.values())),
        np.mean([label == truth[item] for item, label in dawid_skene(votes).winners.items()]),
    )
    shown = "  ".join(f"{figure:.3f}" for figure in figures)
    print(
        f"{name:13} {len(wide):5} {len(voters):6}  {shown}  {rho:.2f}  "
        f"{effective_voters(round(per_item), rho):.1f} of {per_item:.1f}"
    )


def chances(vote: object, truth: dict[str, str]) -> dict[str, float]:
    """Return the chance of each item to be right where ties are drawn."""
    return {
        item: (truth[item] in tied) / len(tied) if tied else float(label == truth[item])
        for item, label, tied in zip(vote.examples, vote.labels, vote.tied, strict=True)  # type: ignore[attr-defined]
    }


def timed() -> None:
    """Print the seconds that 100,000 rows of five voters take, 76 % of whose votes are right."""
    draw = np.random.default_rng(SEED)
    labels = np.array(list("abcde"))
    truth = np.repeat(draw.choice(labels, N_ROWS), N_VOTERS)
    votes = pd.DataFrame(
        {
            "example_id": np.repeat([f"i{at}" for at in range(N_ROWS)], N_VOTERS),
            "annotator": np.tile([f"v{at}" for at in range(N_VOTERS)], N_ROWS),
            "label": np.where(draw.random(len(truth)) < ACCURACY, truth, draw.choice(labels, len(truth))),
        }
    )
    for rule in (majority_vote, dawid_skene):
        began = time.perf_counter()
        rule(votes)
        print(f"{rule.__name__}: {time.perf_counter() - began:.1f} s for {len(votes):,} votes")


if __name__ == "__main__":
    main()
