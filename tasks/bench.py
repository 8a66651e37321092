"""What the few-shot bench tries: its settings, and the experiment that they make of a file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

import yaml

from safetycatch.errors import ExperimentError, UsageError
from safetycatch.experiment import OTHER_UNITS, Candidate, Defaults, ModelName, Rung, parse_experiment
from safetycatch.identity import fingerprint
from safetycatch.results.advice import DEFAULT_BAND
from safetycatch.results.matrix import WHOLE_SET
from safetycatch.scoring.judged import is_judged
from safetycatch.settings import ShotSettings

if TYPE_CHECKING:
    from safetycatch.experiment import Experiment
    from tasks.start import Inputs

VERSION = "2"
SIMPLEST = "zero"
STRATEGIES: tuple[str, ...] = tuple(name for name in get_args(ShotSettings.model_fields["select"].annotation))[1:]
DEFAULT_K = (4, 8)
DEFAULT_SEEDS = 3
# Dev rows asked at a rung in all, and the share of the challengers that goes on: on Banking77 this raced away over half
# of the calls with the pick of the exhaustive bench (benchmarks/fewshot_bench.py).
RUNGS = ((100, 1 / 2), (200, 1 / 3), (400, 1 / 6))
FEWEST = 2
# Dev rows that the ceiling must leave: of fewer, the simplest strategy is advised whatever is true.
FEWEST_ROWS = 30
NAME_LENGTH = 40


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """What is tried: `strategies` x `ks` beside no examples at all, with the file's first model and prompt.

    `model` names another one (LiteLLM's name, or one of the file's); `candidate` takes prompt and model from that one.
    `seeds` other seeds and orders are tried of what is recommended (0: none); `exhaustive` leaves the race out.
    """

    strategies: tuple[str, ...] = STRATEGIES
    ks: tuple[int, ...] = DEFAULT_K
    model: str | None = None
    candidate: str | None = None
    seeds: int = DEFAULT_SEEDS
    exhaustive: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.strategies if name not in STRATEGIES]
        if unknown or not self.strategies:
            raise UsageError(
                f"found {unknown[0]!r}" if unknown else "no strategy",
                where="--strategies",
                expected=f"some of {', '.join(STRATEGIES)} ('zero' always runs)",
            )
        if not self.ks or any(not 1 <= k <= 256 for k in self.ks):
            raise UsageError(f"found {list(self.ks)}", where="--k", expected="numbers from 1 to 256", fix="--k 4,8")
        if not 0 <= self.seeds <= 20:
            raise UsageError(f"found {self.seeds}", where="--seeds", expected="a number from 0 to 20")

    @property
    def words(self) -> tuple[str, ...]:
        """The options of the command that repeats this bench."""
        found = ["--k", ",".join(map(str, self.ks))] if self.ks != DEFAULT_K else []
        found += ["--strategies", ",".join(self.strategies)] if self.strategies != STRATEGIES else []
        found += ["--model", self.model] if self.model else []
        found += ["--candidate", self.candidate] if self.candidate else []
        found += ["--seeds", str(self.seeds)] if self.seeds != DEFAULT_SEEDS else []
        return (*found, *(["--exhaustive"] if self.exhaustive else []))

    def shots(self) -> list[ShotSettings]:
        """Return what is compared, no examples first; a hybrid of one example is none and is left out."""
        pairs = ((name, k) for name in dict.fromkeys(self.strategies) for k in dict.fromkeys(self.ks))
        return [ShotSettings(), *(ShotSettings(select=name, k=k) for name, k in pairs if (name, k) != ("hybrid", 1))]  # pyright: ignore[reportArgumentType]


def bench_inputs(inputs: Inputs, settings: BenchSettings) -> Inputs:
    """Return the experiment that the bench is: same data, split, prompt and budget, scored on dev, nothing claimed.

    Raises: ExperimentError when the file has no candidate with a prompt and a model, or its split no dev rows.
    """
    experiment, path = inputs.experiment, inputs.path
    shares = experiment.split.shares
    if shares is not None and not shares["dev"]:
        raise ExperimentError(
            "the split has no dev rows, and the bench never opens test",
            where=f"{path}: split",
            expected="rows to choose on",
            fix="split: {train: 0.2, dev: 0.3, test: 0.5}",
        )
    source = _template(experiment, settings, str(path))
    found = settings.shots()
    candidates = [source.model_copy(update={"id": shots.name, "shots": shots}) for shots in found]
    ladder = [] if settings.exhaustive else experiment.runs.ladder or default_ladder(len(found) - 1)
    derived = experiment.model_copy(
        update={
            "name": f"{experiment.name[:NAME_LENGTH].strip('-._')}-bench",
            "candidates": candidates,
            "aggregate": None,
            "claim": None,
            "scorers": _scorers(experiment, str(path)),
            "judge": None,
            "runs": experiment.runs.model_copy(update={"ladder": ladder}),
            "defaults": Defaults(),
            "models": [],
            "prompts": [],
            "shots": [],
            "params": {},
        }
    )
    text = yaml.safe_dump(derived.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    data = {experiment.data.path, *([experiment.data.pool] if experiment.data.pool else [])}
    return replace(
        inputs,
        text=text,
        experiment=parse_experiment(text, f"{path} (bench)", path.stem),
        prompts={name: prompt for name, prompt in inputs.prompts.items() if name == source.prompt},
        sha256={name: digest for name, digest in inputs.sha256.items() if name in data},
        # What decides the advice beside the experiment: another band or number of seeds is another run.
        sources={
            **inputs.sources,
            "bench-shots": fingerprint(VERSION, band_of(experiment), settings.seeds, settings.exhaustive),
        },
        copies={**inputs.copies, "bench.yaml": text.encode()},
        verb="bench-shots",
        options=settings.words,
        fewest_rows=FEWEST_ROWS,
    )


def _scorers(experiment: Experiment, where: str) -> list[str]:
    """Return the claimed metric, then the file's; none, which means the defaults, where no metric is one of items.

    Raises: ExperimentError where a judge's metric would decide.
    """
    claimed = [experiment.claim.metric] if experiment.claim else []
    first = next(iter([*claimed, *experiment.scorers]), "judge" if experiment.task == "generate" else "")
    if experiment.judge is not None and is_judged(first):
        raise ExperimentError(
            "a bench by a judge's verdicts is not built: every strategy would be judged on every look",
            where=f"{where}: judge",
            expected="a metric that reads each answer by itself, such as exact or your own module:function",
            fix="scorers: [module:function], or candidates with the shots to compare, and safetycatch run",
        )
    named = [name for name in [*claimed, *experiment.scorers] if ":" in name or not name.startswith(OTHER_UNITS)]
    named = [name for name in named if not is_judged(name)]
    return list(dict.fromkeys(named)) if any(name not in WHOLE_SET for name in named) else []


def default_ladder(n_challengers: int) -> list[Rung]:
    """Return the rungs of a bench whose file has none."""
    rungs = [Rung(items=size, keep=max(FEWEST, math.ceil(share * n_challengers))) for size, share in RUNGS]
    return [*rungs, Rung(items="all")]


def band_of(experiment: Experiment) -> float:
    """Return the difference that is too small to matter: the claim's smallest effect, else 2 points."""
    effect = experiment.claim.smallest_effect if experiment.claim else None
    return effect.value if effect and not effect.relative and effect.value > 0 else DEFAULT_BAND


def _template(experiment: Experiment, settings: BenchSettings, where: str) -> Candidate:
    """Return the candidate whose prompt, model and parameters all strategies share."""
    answering = [candidate for candidate in experiment.candidates if candidate.kind == "model"]
    if settings.candidate is not None:
        named = [candidate for candidate in answering if candidate.id == settings.candidate]
        if not named:
            ids = ", ".join(candidate.id for candidate in answering)
            raise UsageError(f"found {settings.candidate!r}", where="--candidate", expected=f"one of {ids}")
        answering = named
    if not answering:
        raise ExperimentError(
            "no candidate with a prompt and a model",
            where=f"{where}: candidates",
            expected="one: the bench varies its examples",
        )
    if settings.model is None:
        return answering[0]
    known = next((one for one in answering if one.model is not None and one.model.full == settings.model), None)
    if known is not None:
        return known
    try:
        return answering[0].model_copy(update={"model": ModelName.model_validate(settings.model)})
    except ValueError:
        raise UsageError(
            f"found {settings.model!r}",
            where="--model",
            expected="provider/name, such as openai/gpt-4o-mini, or a model of the file",
        ) from None
