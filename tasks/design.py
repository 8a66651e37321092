"""What the scored items can show: detectable effect, items that a claim needs, replicates against items."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetycatch.errors import StatisticsError
from safetycatch.stats import DifferenceNoise, detectable_effect, required_n
from safetycatch.store import Runs
from safetycatch.tables import with_ids
from tasks.calling import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safetycatch.experiment import Candidate, Experiment
    from tasks.stage import Place

# Fewer pairs, or fewer that differ, give too rough a spread to plan with.
LEAST_PAIRS, LEAST_DIFFERENT = 50, 10
NEWEST_RUNS = 100
UNKNOWN = "what difference can be shown is not known for this metric before it was measured"


def measured_noise(
    place: Place, experiment: Experiment, metric: str, examples: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the noisiest comparison of the newest finished run that scored `metric` on this data; None without one.

    The data is the same where its rows are, or where an experiment of this name reads the same path: a file may have
    got more rows. Items may be others of it: a run on dev is a pilot of the claim. Of runs that repeat each other the
    first is named, so that a repeated run's plan is the same artifact.
    """
    found: dict[str, Any] | None = None
    for run in Runs(place.open_store()).ls(limit=NEWEST_RUNS):
        known = (run.summary.get("summary") or {}).get("noise")
        if run.status != "done" or run.run_id == place.run_id or not known or known["metric"] != metric:
            continue
        path = run.manifest["config"]["data"]["path"]
        same_file = run.name == experiment.name and path == experiment.data.path
        if known["examples"] != examples["sha256"] and not same_file:
            continue
        usable = [one for one in known["pairs"] if one["n"] >= LEAST_PAIRS and one["n_different"] >= LEAST_DIFFERENT]
        if not usable:
            continue
        runs = experiment.runs.replicates
        noisiest = max(usable, key=lambda one: _noise(one).sd(runs)) | {"run_id": run.run_id}
        if found is not None and {**noisiest, "run_id": found["run_id"]} != found:
            break
        found = noisiest
    return found


def _noise(record: dict[str, Any]) -> DifferenceNoise:
    known = [math.nan if record[name] is None else record[name] for name in ("of_candidate", "of_baseline")]
    return DifferenceNoise(record["between"], known[0], known[1], record["n"], record["df"])


def temperatures(candidates: Sequence[Candidate]) -> dict[str, float | None]:
    """Return the temperature of every candidate that is a model; None where the provider's default holds."""
    found = {one.id: one.params.get("temperature") for one in candidates if one.model is not None}
    return {name: float(value) if isinstance(value, (int, float)) else None for name, value in found.items()}


def cluster_facts(place: Place, splits: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    """Return how many rows are scored, in which clusters, and an example of the largest one."""
    table = with_ids(read_table(place, splits), ids)
    sizes: dict[str, int] = {}
    first: dict[str, str] = {}
    for cluster, example_id in zip(table["cluster_id"].to_pylist(), table["example_id"].to_pylist(), strict=True):
        sizes[cluster] = sizes.get(cluster, 0) + 1
        first.setdefault(cluster, example_id)
    largest = max(sizes, key=sizes.__getitem__, default="")
    return {
        "n": table.num_rows,
        "n_clusters": len(sizes),
        "largest": sizes.get(largest, 0),
        "largest_example": first.get(largest, ""),
        "sizes": list(sizes.values()),
    }


@dataclass(frozen=True, slots=True)
class _Spread:
    """What is planned with; an assumed spread of right/wrong scores goes through Connor's formula."""

    noise: DifferenceNoise
    told: str
    of_runs: str
    runs_measured: bool = False
    design_effect: float = 1.0
    binary: bool = False

    def arguments(self, runs: int) -> dict[str, float]:
        if self.binary:
            share = self.noise.sd(runs) ** 2 / self.design_effect
            return {"discordance": share, "design_effect": self.design_effect}
        return {"sd_difference": self.noise.sd(runs), "sd_df": self.noise.df}

    @property
    def shows_noise(self) -> bool:
        return self.runs_measured and self.noise.candidate + self.noise.baseline > 0


def _spread(sizes: Sequence[int], settings: dict[str, Any]) -> _Spread | None:
    """Return the spread that an earlier run measured, else the assumed one of a rate, else None."""
    share = settings["noise"] if settings["sampled"] else 0.0
    assumed_runs = f"assuming that {100 * share:g} % of the spread is noise between runs"
    measured = settings["measured"]
    if measured:
        noise = _noise(measured)
        who = f"{measured['candidate']} against {measured['baseline']} on {measured['n']:,} items"
        told = f"spread as measured in {measured['run_id']}, {who}"
        if noise.runs_measured:
            return _Spread(noise, told, f"noise between runs as measured in {measured['run_id']}", runs_measured=True)
        within = share * noise.between
        noise = DifferenceNoise(noise.between - within, within / 2, within / 2, noise.n, noise.df)
        return _Spread(noise, told, assumed_runs)
    if not settings["is_rate"]:
        return None
    # Kish: the effective cluster size is the mean of the squared sizes over the mean size.
    size = sum(count * count for count in sizes) / sum(sizes)
    effect = 1 + (size - 1) * settings["icc"]
    changing, within = settings["discordance"], share * settings["discordance"]
    told = f"assuming that {100 * changing:g} % of the items change sides"
    if size > 1:
        told += f" and an intra-cluster correlation of {settings['icc']:g}"
    noise = DifferenceNoise(changing * effect - within, within / 2, within / 2, 0)
    return _Spread(noise, told, assumed_runs, design_effect=effect, binary=True)


def design_facts(sizes: Sequence[int], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the detectable effect of items in clusters of these sizes, the items needed, and both in words.

    `settings` hold `is_rate, unit, n_compared, power, smallest_effect, replicates`, the assumptions `discordance, icc,
    noise` (the share of the spread that is noise between runs, where a candidate is `sampled`), `warm` (a temperature
    above 0), and what an earlier run `measured`. Undefined figures are None, and `told` says why.
    """
    n, runs = sum(sizes), settings["replicates"]
    facts: dict[str, Any] = {
        "detectable": None,
        "n_needed": None,
        "assumption": "",
        "told": [UNKNOWN],
        "power": settings["power"],
        "unit": settings["unit"],
        "measured_in": settings["measured"]["run_id"] if settings["measured"] else None,
        "replicates": None,
    }
    spread = _spread(sizes, settings) if n > 1 else None
    if spread is None:
        return facts
    # Holm tests the first of several candidates at this level.
    level = {"alpha": 0.05 / settings["n_compared"], "power": settings["power"]}

    def shown(n_items: int, n_runs: int) -> float:
        return detectable_effect(n_items, **spread.arguments(n_runs), **level)

    facts["assumption"] = spread.told
    unit, power = settings["unit"], f"{100 * settings['power']:g} % power"
    wanted = runs > 1 or settings["warm"] or spread.shows_noise
    try:
        facts["detectable"] = shown(n, runs)
        facts["replicates"] = replicates = _replicates(n, runs, spread, shown, unit) if wanted else None
    except StatisticsError:
        facts |= {
            "detectable": None,
            "told": [f"{n:,} items are too few to show any difference ({power})", spread.told],
        }
        return facts
    line = f"a difference of {_size(facts['detectable'], unit)} {unit} or more can be shown ({power})"
    if settings["smallest_effect"]:
        asked = settings["smallest_effect"]
        line += f"; the claim asks for {100 * asked if unit == 'points' else asked:g}"
        try:
            facts["n_needed"] = required_n(asked, **spread.arguments(runs), **level)
            line += f": about {facts['n_needed']:,} items"
        except StatisticsError:
            pass  # an effect above the discordance: any items that show something show it
    facts["told"] = [line, spread.told, *([replicates["told"]] if replicates else [])]
    return facts


def _size(effect: float, unit: str) -> str:
    return f"{100 * effect:.1f}" if unit == "points" else f"{effect:.3g}"


def _replicates(n: int, runs: int, spread: _Spread, shown: Callable[[int, int], float], unit: str) -> dict[str, Any]:
    """Return what `n` items show with several runs each, and so many times the items with one, at equal calls."""
    most = max(2, runs)
    with_runs, with_items = shown(n, most), shown(n * most, 1)
    of_runs = spread.noise.candidate + spread.noise.baseline
    return {
        "runs": most,
        "with_runs": with_runs,
        "with_items": with_items,
        "share_of_noise": of_runs / spread.noise.sd(1) ** 2,
        "measured": spread.runs_measured,
        "told": (
            f"for {'the same' if runs > 1 else 'twice the'} calls {n:,} items x {most} runs can show "
            f"{_size(with_runs, unit)} {unit}, {n * most:,} items x 1 run {_size(with_items, unit)} ({spread.of_runs})"
        ),
    }
