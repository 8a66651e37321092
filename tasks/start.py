"""The start of a run: read the experiment once, name what it computes, begin or resume it, copy its inputs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetycatch.configuration import near_file
from safetycatch.errors import ExperimentError, UsageError
from safetycatch.experiment import Candidate, Experiment, parse_experiment
from safetycatch.fewshot.prompts import Prompt, load_prompt
from safetycatch.identity import file_sha256, fingerprint, text_sha256
from safetycatch.project import Project, find_project
from safetycatch.scoring import check_scorer
from tasks.session import load_function
from tasks.stage import Place

if TYPE_CHECKING:
    from safetycatch.settings import DataSettings


@dataclass(frozen=True, slots=True)
class Inputs:
    """An experiment with everything it names read: prompts, hashes of data files and of the user's own code.

    `verb` and `options` are those of the command that repeats the run. While exploring, a run of which the ceiling
    leaves fewer than `fewest_rows` is refused.
    """

    path: Path
    text: str
    experiment: Experiment
    project: Project
    prompts: dict[str, Prompt]
    files: dict[str, Path]
    sha256: dict[str, str]
    sources: dict[str, str]
    copies: dict[str, bytes]
    verb: str = "run"
    options: tuple[str, ...] = ()
    fewest_rows: int = 1

    def place(self, run_id: str, error_limit: float | None = None) -> Place:
        """Return where the tasks of a run work."""
        return Place(
            store=str(self.project.store_root),
            project=str(self.project.root),
            file=str(self.path),
            text=self.text,
            run_id=run_id,
            mode=self.mode,
            error_limit=error_limit,
        )

    @property
    def shown(self) -> str:
        """The experiment file as a command names it, from the project's root (or the file's folder)."""
        root = self.project.root if self.project.declared else self.path.parent
        return str(self.path.relative_to(root))

    @property
    def typed(self) -> str:
        """The experiment file as typed from the folder somebody is in, where it lies below it; else as `shown`."""
        here, path = Path.cwd(), self.path.absolute()
        near = path.is_relative_to(here) and (not self.project.declared or here.is_relative_to(self.project.root))
        return str(path.relative_to(here)) if near else self.shown

    @property
    def mode(self) -> str:
        """`claiming` or `exploring`."""
        return "claiming" if self.experiment.claiming else "exploring"

    def identity(self) -> str:
        """Fingerprint of what the run computes: experiment, data, prompts and the user's own code."""
        prompts = {name: prompt.sha256 for name, prompt in self.prompts.items()}
        return fingerprint(self.experiment.identity(), self.sha256, prompts, self.sources)[:40]

    def data_settings(self, path: str, *, pool: bool = False) -> dict[str, Any]:
        """Return the settings of a `load` stage for one data file."""
        named = self.experiment.data.model_dump(mode="json", exclude={"pool"})
        column = None if pool else self.experiment.split.column
        return {**named, "path": path, "split_column": column, "sha256": self.sha256[path], "is_pool": pool}

    def source_of(self, candidate: Candidate) -> str:
        """Return the hash of what answers for a `call` candidate: its module's source and declared version."""
        return fingerprint(self.sources.get(candidate.call or "", ""), candidate.version or "")

    def changed_data(self) -> list[str]:
        """Return the data files that are no longer what they were when the run started."""
        return [
            name
            for name, digest in self.sha256.items()
            if not self.files[name].is_file() or file_sha256(self.files[name]) != digest
        ]


def read_inputs(path: Path, digest: str = "", *, alone: bool = False) -> Inputs:
    """Return everything an experiment names.

    `digest` is the experiment file's SHA-256 as a deployment recorded it; another one is refused.
    `alone`: a claim may have one candidate.
    Raises: ExperimentError or UsageError for anything that is not there or not usable.
    """
    from safetycatch.configuration import read_text

    path = path.absolute()
    text = read_text(path)
    if digest and not text_sha256(text).startswith(digest):
        raise UsageError(
            f"SHA-256 {text_sha256(text)[:12]}…",
            where=str(path),
            expected=f"{digest[:12]}…, as deployed",
            fix="deploy again, or leave 'digest' empty",
        )
    experiment = parse_experiment(text, str(path), path.stem, alone=alone)
    for place, name in _metrics(experiment):
        check_scorer(name, f"{path}: {place}")
    project = find_project(path)
    root = project.root if project.declared else path.parent
    prompts: dict[str, Prompt] = {}
    files: dict[str, Path] = {path.name: path}
    copies = {path.name: path.read_bytes()}
    judge = experiment.judge_of_ties
    for candidate in [*experiment.candidates, *([judge] if judge else []), *experiment.judges]:
        if candidate.prompt and candidate.prompt not in prompts:
            full = path.parent / candidate.prompt
            prompts[candidate.prompt] = load_prompt(_inside(full, root), root)
            files[candidate.prompt] = full
            copies[candidate.prompt] = full.read_bytes()
    for juror in experiment.judges:
        _check_rubric(prompts[juror.prompt or ""])
    sha256: dict[str, str] = {}
    for name in _data_files(experiment):
        full = path.parent / name
        if not full.is_file():
            near = near_file(full)
            raise ExperimentError(
                "no such file",
                where=f"{path}: {name}",
                expected=f"a file beside {path.name}",
                fix=os.path.relpath(near, path.parent) if near else "",
            )
        sha256[name], files[name] = file_sha256(full), full
    sources: dict[str, str] = {}
    own = {name for _, name in _metrics(experiment) if ":" in name}
    for name in {*(c.call for c in experiment.candidates if c.call), *own}:
        _, sources[name] = load_function(name, (path.parent, root), f"{path}: {name}")
    return Inputs(path, text, experiment, project, prompts, files, sha256, sources, copies)


def _metrics(experiment: Experiment) -> list[tuple[str, str]]:
    """Return every metric that an experiment names, each with the key that names it."""
    claim = experiment.claim
    rails = claim.guardrails if claim else ()
    return [
        *(("scorers", name) for name in experiment.scorers),
        *([("claim.metric", claim.metric)] if claim else []),
        *((f"claim.guardrails[{number}].metric", rail.metric) for number, rail in enumerate(rails)),
    ]


def _check_rubric(rubric: Prompt) -> None:
    """Refuse a judge's prompt with variables: what is judged is shown after it, behind fences."""
    for name, line in rubric.variables:
        raise ExperimentError(
            f"the variable `{name}` in a judge's prompt",
            where=f"{rubric.path}: line {line}",
            expected="a rubric: input, output and reference are shown after it",
            fix=f"write about the {name if name in {'input', 'output', 'reference'} else 'output'} in words",
        )


def _inside(path: Path, root: Path) -> str:
    try:
        return str(path.resolve().relative_to(root.resolve()))
    except ValueError:
        return str(path)


def _data_files(experiment: Experiment) -> list[str]:
    data: DataSettings = experiment.data
    outputs = [candidate.outputs for candidate in experiment.candidates if candidate.outputs]
    judge = experiment.judge
    judged = [name for name in (judge.verdicts, judge.shots) if name] if judge else []
    return list(dict.fromkeys([data.path, *([data.pool] if data.pool else []), *outputs, *judged]))
