"""What the scored items can show: detectable effect, items that a claim needs, replicates against items."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats import DifferenceNoise, detectable_effect, replicates_or_items, required_n
from safetycatch.stats.clusters import MIN_CLUSTERS, degrees_of_freedom
from safetycatch.stats.power import least_clusters
from safetycatch.store import Runs
from safetycatch.tables import with_ids
from tasks.calling import read_table
from tasks.judge_errors import JudgeErrors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.experiment import Candidate, Experiment
    from tasks.stage import Place

# Fewer pairs, or fewer that differ, give too rough a spread to plan with.
LEAST_PAIRS, LEAST_DIFFERENT = 50, 10
NEWEST_RUNS = 100
MOST_POWER = 0.999
MORE_CHANGE = 1.75  # 35 % of the items instead of the default 20 %: two models that are right half of the time
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
    # A gain of 50 points takes half of the items at least.
    changing = max(settings["discordance"], settings["smallest_effect"] or 0.0)
    told = f"assuming that {100 * changing:g} % of the items change sides"
    if errors := JudgeErrors.of(settings.get("judge")):
        changing = errors.flips(changing)
        told += f" and the judge errs on each answer by itself: {100 * changing:.0f} % of the pairs of verdicts differ"
    within = share * changing
    if size > 1:
        told += f" and an intra-cluster correlation of {settings['icc']:g}"
    noise = DifferenceNoise(changing * effect - within, within / 2, within / 2, 0)
    return _Spread(noise, told, assumed_runs, design_effect=effect, binary=True)


def design_facts(sizes: Sequence[int], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the detectable effect of items in clusters of these sizes, the items needed, and both in words.

    `settings` hold `is_rate, unit, n_compared, power, smallest_effect, replicates`, the assumptions `discordance, icc,
    noise` (the share of the spread that is noise between runs, where a candidate is `sampled`), `warm` (a temperature
    above 0), what an earlier run `measured`, perhaps `pair_calls`, the calls that the budget pays for two candidates,
    and `judge`, what `judge_facts` knows of a judge's errors: effects are then those that people would find. Undefined
    figures are None, and `told` says why; `impossible` says it where no difference can be shown.
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
        "impossible": None,
    }
    judge = settings.get("judge")
    spread = _spread(sizes, settings) if n > 1 else None
    if spread is None:
        return facts
    test = _Test(sizes, settings)
    raw_only = judge["why"] if judge else ""
    facts["assumption"] = f"{spread.told}; {test.judge_told or raw_only}" if judge else spread.told
    unit, power = settings["unit"], f"{100 * settings['power']:g} % power"
    wanted = runs > 1 or settings["warm"] or spread.shows_noise
    facts["impossible"] = test.impossible(runs)
    try:
        if not facts["impossible"]:
            facts["detectable"] = test.shown(spread, n, runs)
            facts["replicates"] = _replicates(n, test, spread, settings) if wanted else None
    except StatisticsError:
        facts["impossible"] = f"{n:,} items are too few to show any difference ({power})"
    if facts["impossible"]:
        return facts | {"detectable": None, "told": [facts["impossible"], spread.told]}
    line = f"a difference of {_size(facts['detectable'], unit)} {unit} or more can be shown ({power})"
    if settings["smallest_effect"]:
        asked = settings["smallest_effect"]
        line += f"; the claim asks for {100 * asked if unit == 'points' else asked:g}"
        facts["n_needed"] = test.needed(spread, asked, runs)
        if facts["n_needed"]:
            line += f": about {facts['n_needed']:,} items"
    replicates = facts["replicates"]
    lines = [line, test.judge_told or raw_only, test.errors.labels_told if test.errors else "", spread.told]
    lines += [_if_wrong(test, sizes, settings), replicates["told"] if replicates else ""]
    facts["told"] = [line for line in lines if line]
    return facts


class _Test:
    """The test that a run over clusters of `sizes` takes, as `paired_difference` chooses it."""

    def __init__(self, sizes: Sequence[int], settings: dict[str, Any]) -> None:
        self.n, self.n_clusters, self.n_compared = sum(sizes), len(sizes), settings["n_compared"]
        # Holm tests the first of several candidates at this level.
        self.level = {"alpha": 0.05 / self.n_compared, "power": settings["power"]}
        self.is_rate, self.sampled = settings["is_rate"], settings["sampled"]
        df = degrees_of_freedom(np.asarray(sizes, dtype=np.float64)) if len(sizes) > 1 else 0.0
        self.cluster_size = max(1.0, self.n / (df + 1))
        self.errors = JudgeErrors.of(settings.get("judge"))
        # What verdicts show of a difference that people would find.
        self.share = 1.0 if self.errors is None else self.errors.shown_of(**self.level)

    @property
    def judge_told(self) -> str:
        """What a judge's errors cost; nothing where none are known."""
        return self.errors.told(self.share) if self.errors and self.share else ""

    def _single(self, runs: int) -> bool:
        """Whether scores are 0 or 1, as averages of runs that differ are not."""
        return self.is_rate and (runs == 1 or not self.sampled)

    def arguments(self, spread: _Spread, runs: int) -> dict[str, Any]:
        exact = self._single(runs) and self.n_clusters == self.n
        cluster_size = None if exact else self.cluster_size
        return {**spread.arguments(runs), **self.level, "exact": exact, "cluster_size": cluster_size}

    def shown(self, spread: _Spread, n: int, runs: int) -> float:
        """Return the effect that `n` items with `runs` runs each can show.

        Raises: StatisticsError where they show none, or none that is possible.
        """
        effect = self._raw(spread, n, runs) / self.share
        if self.is_rate and self.errors is not None and effect > 1:
            raise StatisticsError("under this judge not even a difference of 100 points is shown")
        return effect

    def _raw(self, spread: _Spread, n: int, runs: int) -> float:
        arguments = self.arguments(spread, runs)
        effect = detectable_effect(n, **arguments)
        if not self._single(runs) or self.n_clusters > least_clusters(self.level["alpha"]) or self.n_clusters == self.n:
            return effect
        # With the fewest clusters that have such a p-value, a single one without a net difference takes it away.
        size, variance = self.n / self.n_clusters, spread.noise.sd(runs) ** 2
        tie = math.exp(-size * effect**2 / (2 * variance)) / math.sqrt(2 * math.pi * size * variance)
        power = self.level["power"] / max(0.5, 1 - tie) ** self.n_clusters
        return detectable_effect(n, **{**arguments, "power": min(power, MOST_POWER)})

    def needed(self, spread: _Spread, effect: float, runs: int) -> int | None:
        """Return the items that show `effect`; None above the discordance: what shows anything shows it."""
        try:
            n = required_n(self.share * effect, **self.arguments(spread, runs))
        except StatisticsError:
            return None
        least = least_clusters(self.level["alpha"]) if self._single(runs) else MIN_CLUSTERS
        return max(n, math.ceil(least * self.n / self.n_clusters - 1e-9))

    def impossible(self, runs: int) -> str | None:
        """Return why so few clusters show no difference, however large it is."""
        if self.errors is not None and not self.share:
            return f"{self.errors.coin_told}: no number of items shows a difference that people would find"
        alpha, k = self.level["alpha"], self.n_clusters
        what = "items" if k == self.n else "clusters"
        if k < MIN_CLUSTERS and k < self.n:
            return f"{k} clusters cannot show any difference: there is no interval below {MIN_CLUSTERS} clusters"
        if self._single(runs) and k < least_clusters(alpha):
            asked = f"{self.n_compared} candidates ask" if self.n_compared > 1 else "a claim asks"
            return (
                f"{k} {what} cannot show any difference: rights and wrongs have no p-value below {2.0 ** (1 - k):.2g} "
                f"there, and {asked} for {alpha:.2g}; it takes {least_clusters(alpha)} {what} or more"
            )
        return None


def _if_wrong(test: _Test, sizes: Sequence[int], settings: dict[str, Any]) -> str:
    """Return what it costs if more items change sides than is assumed; nothing where the spread was measured."""
    if settings["measured"]:
        return ""
    share = min(1.0, MORE_CHANGE * settings["discordance"])
    spread, runs, effect = _spread(sizes, {**settings, "discordance": share}), settings["replicates"], None
    if spread is None:
        return ""
    if settings["smallest_effect"]:
        needed = test.needed(spread, settings["smallest_effect"], runs)
        effect = f"about {needed:,} items are needed; a run on dev without the claim measures it" if needed else None
    else:
        try:
            shown = _size(test.shown(spread, test.n, runs), settings["unit"])
            effect = f"only {shown} {settings['unit']} or more; the first run measures it"
        except StatisticsError:
            pass  # too few items for any effect, told above
    return f"if {100 * share:g} % do, {effect}" if effect else ""


def _size(effect: float, unit: str) -> str:
    return f"{100 * effect:.1f}" if unit == "points" else f"{effect:.3g}"


def _replicates(n: int, test: _Test, spread: _Spread, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what `n` items show with several runs each, and so many times the items with one, at equal calls.

    Where the budget counts calls, also the best that it pays of these items.
    """
    runs, unit = settings["replicates"], settings["unit"]
    most = max(2, runs)
    with_runs, with_items = test.shown(spread, n, most), test.shown(spread, n * most, 1)
    told = (
        f"for {'the same' if runs > 1 else 'twice the'} calls {n:,} items x {most} runs can show "
        f"{_size(with_runs, unit)} {unit}, {n * most:,} items x 1 run {_size(with_items, unit)} ({spread.of_runs})"
    )
    best = _best_paid(n, test, spread, settings.get("pair_calls"))
    if best:
        runs_told = f"{best['runs']} run{'s' if best['runs'] > 1 else ''}"
        told += (
            f"; the budget's calls are best spent on {best['n_items']:,} items x {runs_told}: "
            f"{_size(best['detectable'], unit)} {unit}"
        )
    of_runs = spread.noise.candidate + spread.noise.baseline
    return {
        "runs": most,
        "with_runs": with_runs,
        "with_items": with_items,
        "share_of_noise": of_runs / spread.noise.sd(1) ** 2,
        "measured": spread.runs_measured,
        "best": best,
        "told": told,
    }


def _best_paid(n: int, test: _Test, spread: _Spread, calls: float | None) -> dict[str, Any] | None:
    """Return runs and items, of `n` there are, that show the smallest effect for the calls of two candidates."""
    if calls is None:
        return None
    try:
        best = replicates_or_items(spread.noise, calls, most_items=n)
        return {
            "runs": best.runs,
            "n_items": best.n_items,
            "detectable": test.shown(spread, best.n_items, best.runs),
        }
    except StatisticsError:
        return None  # the calls pay too few items to show anything
