"""How often our catches refuse clean data: claiming and exploring runs over subsamples of the public sets.

    python benchmarks/refusals.py [--n 224] [--seed 1] [--workers 2] [--only SET]

Every subsample (200-3,000 rows, whole groups) is split by us and run to its verdict, once with a claim and once
exploring, with nothing overridden. Bar: at most 5 % of the claiming runs refused, each catch alone at most 1 %, and no
exploring run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from public_sets import Subsample, subsample

LIVE_ROWS = 1200  # more rows than that are previewed only when a model answers: their answers take too long here


@dataclass(frozen=True)
class Outcome:
    """What one run found: `findings` as (code, level, status), `refused` codes, `error` of any other end."""

    name: str
    mode: str
    n: int
    kind: str
    findings: tuple[tuple[str, str, str], ...]
    refused: tuple[str, ...]
    said: str = ""
    error: str = ""
    cpu_s: float = 0.0


def written(drawn: Subsample, folder: Path) -> dict[str, Path]:
    """Write the data and one experiment file a mode."""
    drawn.rows.to_parquet(folder / "rows.parquet", index=False)
    if drawn.outputs is not None:
        drawn.outputs.to_parquet(folder / "outputs.parquet", index=False)
    (folder / "ask.md").write_text(drawn.prompt)
    claiming = {**drawn.experiment, "budget": {"usd": 5, "calls": 50_000}}
    exploring = {key: value for key, value in drawn.experiment.items() if key != "claim"}
    exploring["scorers"] = [drawn.experiment["claim"]["metric"]]
    modes = {"claiming": claiming} | ({} if drawn.claiming_only else {"exploring": exploring})
    paths = {mode: folder / f"{mode}.yaml" for mode in modes}
    for mode, path in paths.items():
        path.write_text(yaml.safe_dump(modes[mode], sort_keys=False))
    return paths


def run(path: Path, mode: str, drawn: Subsample, kind: str) -> Outcome:
    from flows.chain import as_function
    from flows.evaluate import run_experiment
    from flows.preview import preview
    from safetycatch.errors import RefusedError, SafetycatchError

    def outcome(findings: Any, refused: Any = (), error: str = "") -> Outcome:
        return Outcome(
            drawn.name,
            mode,
            len(drawn.rows),
            kind,
            tuple((found["code"], found["level"], found["status"]) for found in findings),
            tuple(found.code for found in refused),
            "; ".join(f"{found.code} {found.saw}" for found in refused),
            error,
            time.process_time() - began,
        )

    began = time.process_time()

    try:
        if kind == "before":
            found = preview(path).findings
            return outcome([one.row() for one in found], [one for one in found if one.refuses])
        return outcome(run_experiment(path, call=as_function, unattended=False)["findings"])
    except RefusedError as error:
        refused: list[Any] = list(error.findings)
        return outcome([one.row() for one in refused], refused)
    except SafetycatchError as error:
        return outcome([], error=f"{type(error).__name__}: {str(error).splitlines()[0]}")


def one(number: int, seed: int) -> list[Outcome]:
    drawn = subsample(number, seed)
    live = "defaults" in drawn.experiment
    kind = "recorded" if not live else "live" if len(drawn.rows) <= LIVE_ROWS else "before"
    with tempfile.TemporaryDirectory(prefix="refusals-") as folder:
        os.environ["SAFETYCATCH_STORE"] = f"{folder}/store"
        paths = written(drawn, Path(folder))
        return [run(path, mode, drawn, kind) for mode, path in paths.items()]


def wilson(bad: int, n: int) -> str:
    """Return a share with its two-sided 95 % Wilson interval, in per cent."""
    if not n:
        return "—"
    z2, rate = 1.959963984540054**2, bad / n
    middle, spread = rate + z2 / (2 * n), (z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) ** 0.5
    low, high = (middle - spread) / (1 + z2 / n), (middle + spread) / (1 + z2 / n)
    return f"{100 * rate:.1f} [{100 * max(low, 0):.1f}, {100 * high:.1f}]"


def report(outcomes: list[Outcome], wall_s: float) -> bool:
    """Print the tables; return whether the bar is held."""
    ok = True
    print("\n| mode | runs | whole runs | refused | % refused, 95 % interval | bar |\n|---|---|---|---|---|---|")
    for mode, bar in (("claiming", 5.0), ("exploring", 0.0)):
        runs = [o for o in outcomes if o.mode == mode and not o.error]
        bad = [o for o in runs if o.refused]
        share = 100 * len(bad) / max(len(runs), 1)
        ok &= share <= bar
        whole = sum(o.kind != "before" for o in runs)
        print(f"| {mode} | {len(runs)} | {whole} | {len(bad)} | {wilson(len(bad), len(runs))} | {bar:g} |")
    codes: dict[str, dict[tuple[str, str], int]] = defaultdict(Counter)
    for o in outcomes:
        for code, level, status in o.findings:
            fired = ("refused" if level in {"refuse", "stop"} else "warned") if status == "fired" else status
            codes[code][o.mode, fired] += 1
    print("\n| code | claiming: looked at | refused % | warned % | exploring: looked at | refused % | warned % |")
    print("|---|---|---|---|---|---|---|")
    for code in sorted(codes, key=lambda code: divmod(int(code[2:]), 100)):
        cells = [code]
        for mode in ("claiming", "exploring"):
            counts = codes[code]
            n = sum(counts[mode, word] for word in ("passed", "refused", "warned"))
            refused, warned = counts[mode, "refused"], counts[mode, "warned"]
            ok &= refused <= 0.01 * max(n, 1)
            cells += [str(n), wilson(refused, n), wilson(warned, n)]
        print("| " + " | ".join(cells) + " |")
    print(
        "\n| set | rows, median | claiming | refused | exploring | refused | not run (input error) |\n"
        "|---|---|---|---|---|---|---|"
    )
    for name in sorted({o.name for o in outcomes}):
        own = [o for o in outcomes if o.name == name]
        cells = [name, str(sorted(o.n for o in own)[len(own) // 2])]
        for mode in ("claiming", "exploring"):
            runs = [o for o in own if o.mode == mode and not o.error]
            cells += [str(len(runs)), str(sum(bool(o.refused) for o in runs))]
        print("| " + " | ".join([*cells, str(sum(bool(o.error) for o in own))]) + " |")
    for o in outcomes:
        if o.refused or o.error:
            print(f"{o.name} {o.mode} n={o.n} {o.kind}: {o.said or o.error}")
    cpu, held = sum(o.cpu_s for o in outcomes), "held" if ok else "MISSED"
    print(f"\n{wall_s:.0f} s, CPU of the runs {cpu:.0f} s, load {os.getloadavg()[0]:.1f}; the bar is {held}")
    return ok


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=224, help="subsamples")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="one set")
    parser.add_argument("--json", type=Path, help="write every outcome here")
    options = parser.parse_args()
    began = time.monotonic()
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(options.workers, mp_context=get_context("forkserver")) as pool:
        jobs = [pool.submit(one, number, options.seed) for number in range(options.n)]
        for done, job in enumerate(jobs, 1):
            outcomes += [o for o in job.result() if not options.only or o.name == options.only]
            if done % 32 == 0:
                print(f"{done} of {options.n} subsamples, {time.monotonic() - began:.0f} s", flush=True)
    if options.json:
        options.json.write_text(json.dumps([vars(o) for o in outcomes]))
    raise SystemExit(0 if report(outcomes, time.monotonic() - began) else 1)


if __name__ == "__main__":
    main()
