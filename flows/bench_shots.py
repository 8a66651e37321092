"""Flow `bench_shots`: few-shot strategies on dev, on the ladder, and which one to take."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.beyond import Measured
from flows.chain import as_task
from flows.evaluate import Digest, ExperimentFile, Overrides, run_experiment
from flows.ladder import race_metric
from flows.varying import vary
from flows.watching import failed
from safetycatch.catches.fewshot import dynamic_is_worth_it, shots_are_steady
from safetycatch.results.advice import champions, retrieval
from safetycatch.results.bench import moving_parts
from safetycatch.scoring import scorer
from tasks.bench import DEFAULT_K, DEFAULT_SEEDS, SIMPLEST, STRATEGIES, BenchSettings, band_of, bench_inputs
from tasks.benched import Benched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.chain import Call
    from safetycatch.catches import Observation, Policy
    from safetycatch.scoring import Scorer
    from tasks.prepared import Climbed, Prepared, Ref
    from tasks.start import Inputs


def _run_name() -> str:
    return f"bench-shots {Path(str(flow_run.parameters.get('experiment', ''))).stem}"


@flow(name="bench-shots", flow_run_name=_run_name, persist_result=False, result_serializer="json")
def bench_shots(
    experiment: ExperimentFile,
    digest: Digest = "",
    strategies: list[str] = list(STRATEGIES),  # noqa: B006 - Prefect's form shows it, nobody changes it
    ks: list[Annotated[int, Field(ge=1, le=256)]] = list(DEFAULT_K),  # noqa: B006
    seeds: Annotated[int, Field(ge=0, le=20)] = DEFAULT_SEEDS,
    model: str | None = None,
    candidate: str | None = None,
    overrides: Overrides | None = None,
    *,
    exhaustive: bool = False,
    unattended: bool = True,
) -> Any:
    """Compare few-shot strategies on dev and say which one to take; return what `bench-shots --json` prints.

    Args:
        experiment: The experiment file, from the project's root; its data, split, prompt, model and budget are used
        digest: The first 8 to 64 hex digits of the file's SHA-256, where only this content may run
        strategies: How examples are chosen; no examples at all always runs
        ks: How many examples
        seeds: How many other seeds and orders of what is recommended are tried
        model: Another model than the file's first
        candidate: The candidate whose prompt and model are used; default the first
        overrides: Catches to override, each with its reason
        exhaustive: Ask every strategy every dev row, without the race
        unattended: Nobody is there to be asked, so a budget must be set
    """
    try:
        settings = BenchSettings(tuple(strategies), tuple(ks), model, candidate, seeds, exhaustive)
        return run_bench(Path(experiment), settings, digest, overrides, unattended=unattended, call=as_task)
    except Exception as error:  # noqa: BLE001 - raised to the caller; Prefect, which may be shared, gets no row's text
        return failed(error)


def run_bench(
    path: Path,
    settings: BenchSettings,
    digest: str = "",
    overrides: dict[str, str] | None = None,
    *,
    unattended: bool = True,
    call: Call,
) -> dict[str, Any]:
    """Do what the flow does, with the stages called as `call` says."""
    return run_experiment(
        path, digest, overrides, unattended=unattended, beyond=_Bench(settings), alone=True, call=call
    )


class _Bench:
    """The bench beyond a plain evaluation: its candidates, who is measured to the end, seeds and orders, the advice."""

    def __init__(self, settings: BenchSettings) -> None:
        self._settings = settings
        self._band = 0.0
        self._band_stated = False

    def inputs(self, inputs: Inputs) -> Inputs:
        """Return the bench as an experiment."""
        claim = inputs.experiment.claim
        self._band, self._band_stated = band_of(inputs.experiment), bool(claim and claim.smallest_effect)
        return bench_inputs(inputs, self._settings)

    def going(self, prepared: Prepared, climbed: Climbed) -> Climbed:
        """Add the best of those with fewer moving parts than the leader: caps cut by the score alone."""
        moving = {one.id: len(moving_parts(one.shots)) for one in prepared.experiment.candidates}
        on = {row["candidate"] for row in climbed.standing if row["on"]}
        on |= set(champions([row for row in climbed.standing if row["candidate"] != SIMPLEST], moving))
        return replace(
            climbed,
            entries=tuple(entry for entry in prepared.entries if entry["candidate"]["id"] in on),
            standing=tuple({**row, "on": row["candidate"] in on} for row in climbed.standing),
        )

    def measured(
        self, prepared: Prepared, climbed: Climbed | None, parts: dict[str, list[Ref]], call: Call
    ) -> Measured:
        """Return table and advice, with the answers that other seeds and orders took."""
        replies = [*(climbed.rungs if climbed else ()), *chain.from_iterable(parts.values())]
        found = Benched(prepared, climbed, _scorer(prepared, climbed), replies, self._band)
        n_answers = len(parts) * len(prepared.ids) * prepared.experiment.runs.replicates
        n_before = n_answers + (climbed.n_asked if climbed else 0) + sum(len(one.ids) for one in prepared.bootstraps)
        varied = vary(found, self._settings.seeds, call, n_before)
        facts = found.facts(
            [move.spread for move in varied.moves], varied.reason, varied.n_calls, band_stated=self._band_stated
        )

        def observations(policy: Policy) -> Iterator[Observation]:
            unit = found.metric.unit
            yield shots_are_steady(moves=varied.moves, reason=varied.reason, unit=unit, policy=policy)
            won = retrieval(found.tried, found.rows, found.advice, found.metric, found.clusters)
            yield dynamic_is_worth_it(found=won, band=self._band, unit=unit)

        return Measured(varied.parts, facts, observations)


def _scorer(prepared: Prepared, climbed: Climbed | None) -> Scorer:
    """Return the metric of the bench: the race's, or the one that it would have been run by."""
    task: Any = prepared.task
    aliases = prepared.experiment.label_aliases

    def named(name: str) -> Scorer:
        return scorer(name, task=task, labels=prepared.labels, aliases=aliases, judge=prepared.experiment.judge)

    return named(climbed.metric if climbed else race_metric([named(name) for name in prepared.scorers]))
