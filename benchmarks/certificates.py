"""What a certificate says of recorded judges: python benchmarks/certificates.py [--data ../shared/data/pandalm_judge].

PandaLM's test set: 999 pairs of answers, three humans, two recorded LLM judges. Each judge is calibrated by the humans'
majority, and, as a control, each human by the items on which the other two agree, by `run_calibration`: what the verb
`calibrate` calls, without Prefect. No call is made. Exit 1 where a bar is missed: figures of the data's card to the
digit, neither judge certified and its ties named, each human certified on 200 items or more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from flows.calibrate import run_calibration  # noqa: E402 - the checkout's own flows
from flows.chain import as_function  # noqa: E402

NAMES = {"1": "first", "2": "second", "tie": "tie"}
CARD = {"gpt-3.5-turbo": ([697, 974], 0.493), "pandalm-7b": ([667, 999], 0.435)}
PEOPLE = [0.852, 0.879, 0.862]
FEWEST = 200
EXPERIMENT = {
    "data": {"path": "rows.csv", "id": "id", "input": "text", "target": "label"},
    "task": "generate",
    "split": {"test": 1},
    "candidates": [{"id": "a", "outputs": "rows.csv"}, {"id": "b", "outputs": "rows.csv"}],
    "scorers": ["judge"],
}


def read(data: Path) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]], dict[str, dict[str, Any]]]:
    """Return items, human labels by item and annotator, and verdicts by judge and item."""
    items = pd.read_parquet(data / "items.parquet").fillna("").set_index("item_id")
    texts = {
        str(name): {
            "input": f"{row['instruction']}\n{row['input']}",
            "output": json.dumps({"first": row["response_1"], "second": row["response_2"]}),
        }
        for name, row in items.iterrows()
    }
    humans: dict[str, dict[str, str]] = {}
    for row in pd.read_parquet(data / "human_labels.parquet").to_dict("records"):
        humans.setdefault(row["item_id"], {})[row["annotator"]] = NAMES[row["label"]]
    judges: dict[str, dict[str, Any]] = {}
    for row in pd.read_parquet(data / "judge_labels.parquet").to_dict("records"):
        judges.setdefault(row["judge"], {})[row["item_id"]] = (NAMES.get(row["label"]), row["reason"] or "")
    return texts, humans, judges


def certify(
    name: str, texts: dict[str, dict[str, str]], labels: dict[str, dict[str, str]], verdicts: dict[str, Any]
) -> dict[str, Any]:
    """Return what `calibrate --json` says of a recorded judge."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "safetycatch.yaml").write_text("")
        rows = [
            {"example_id": item, "annotator": who, "label": label, **texts[item]}
            for item, said in labels.items()
            for who, label in said.items()
        ]
        pd.DataFrame(rows).to_csv(place / "labels.csv", index=False)
        known = [
            {"example_id": item, "verdict": verdict, "critique": reason}
            for item, (verdict, reason) in verdicts.items()
            if verdict is not None and item in labels
        ]
        pd.DataFrame(known).to_csv(place / "verdicts.csv", index=False)
        pd.DataFrame([{"id": item, "text": item, "label": "x", "output": "x"} for item in labels]).to_csv(
            place / "rows.csv", index=False
        )
        judge = {"scale": "pairwise", "verdicts": "verdicts.csv", "labels": "labels.csv"}
        (place / f"{name}.yaml").write_text(json.dumps({**EXPERIMENT, "judge": judge}))
        return run_calibration(place / f"{name}.yaml", unattended=False, call=as_function)


def studies(data: Path) -> dict[str, dict[str, Any]]:
    """Return the certificate of each judge against all humans, and of each human against the other two."""
    texts, humans, judges = read(data)
    found = {name: certify(name.replace(".", "-"), texts, humans, said) for name, said in judges.items()}
    for name in sorted({who for said in humans.values() for who in said}):
        others = {item: {who: one for who, one in said.items() if who != name} for item, said in humans.items()}
        agreed = {item: said for item, said in others.items() if len(set(said.values())) == 1}
        own = {item: (humans[item][name], "") for item in agreed}
        found[name] = certify(name.replace("_", "-"), texts, agreed, own)
    return found


def missed(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return every bar that is missed, in words."""
    out: list[str] = []
    for name, (agreed, kappa) in CARD.items():
        one = found[name]
        told = (one["agreed"], round(one["overall"]["kappa"]["estimate"], 3))
        if told != (agreed, kappa):
            out.append(f"{name}: {told} instead of {(agreed, kappa)}")
        pairs = [round(pair["kappa"], 3) for pair in one["people"]["pairs"]]
        if pairs != PEOPLE:
            out.append(f"people's kappas {pairs} instead of {PEOPLE}")
        if one["state"] != "refused" or not any("'tie'" in reason["text"] for reason in one["reasons"]):
            out.append(f"{name}: {one['state']}, or without a word on its ties")
    for name in found.keys() - CARD.keys():
        one = found[name]
        if one["state"] != "certified" or one["agreed"][1] < FEWEST:
            out.append(f"{name}: {one['state']} on {one['agreed'][1]} items: {one['reasons'][0]['text']}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "pandalm_judge")
    options = parser.parse_args()
    print(f"{'judge':15} {'agreed':>9} {'kappa':>6}  {'state':12} classes judged · why")
    found = studies(options.data)
    for name, one in found.items():
        agreed, judged = one["agreed"]
        kappa = one["overall"]["kappa"]["estimate"]
        classes = Counter({count["positive"]: count["tp"] + count["fn"] for count in one["sealed"]})
        told = ", ".join(f"{label} {n}" for label, n in classes.items())
        print(f"{name:15} {agreed:>4}/{judged:<4} {kappa:>6.3f}  {one['state']:12} {told}")
        for pair in one["people"]["pairs"] if len(one["people"]["pairs"]) > 1 else ():
            print(f"{'':47}{pair['first']} and {pair['second']}: kappa {pair['kappa']:.3f} (n = {pair['n']})")
        for reason in one["reasons"]:
            print(f"{'':47}{reason['text']}")
    bars = sorted(missed(found))
    print("\n".join(f"MISSED {bar}" for bar in bars) or "every bar is met")
    sys.exit(1 if bars else 0)


if __name__ == "__main__":
    main()
