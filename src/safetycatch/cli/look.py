"""A quick look without a file: data, a prompt and a model from the command line become an experiment in the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from safetycatch.configuration import near_file, read_text
from safetycatch.errors import DataError, InputError, UsageError
from safetycatch.experiment import parse_experiment, quick_look
from safetycatch.fewshot.prompts import MAX_PROMPT_BYTES
from safetycatch.folders import make_private
from safetycatch.project import STORE_NAME, find_project

if TYPE_CHECKING:
    from safetycatch.project import Project
    from safetycatch.settings import DataSettings

LOOKS = "looks"


def write_look(data: Path, prompt: Path, model: str, budget: str | None) -> Path:
    """Write the experiment file of a quick look and return it; the same options give the same file.

    It lies in a folder of its own with a copy of the prompt, below the project, so that project settings apply. The
    store of a folder without a project is named in the environment, since the file's own folder is another one.
    Raises: InputError for what is missing or not usable.
    """
    project = find_project(Path.cwd())
    if not data.is_file():
        fix = near_file(data)
        raise UsageError("no such file", where=f"--data {data}", expected="a CSV, JSONL or Parquet file", fix=fix)
    text = read_text(prompt, MAX_PROMPT_BYTES)
    folder = _folder(project)
    shown = quick_look(str(data), str(prompt), model)
    parsed = parse_experiment(shown, "the command line", "look")
    _check_columns(parsed.data, prompt, model)
    name = parsed.name
    own = folder / name
    experiment = quick_look(str(data.resolve()), prompt.name, model)
    body = "\n".join(
        [f"name: {name}", *experiment.splitlines()[1:], *([f'budget: "{_sum(budget)}"'] if budget else [])]
    )
    file = own / f"{name}.yaml"
    parse_experiment(body, "the command line", name)
    try:
        make_private(own)
        _write(own / prompt.name, text)
        _write(file, body + "\n")
    except OSError as error:
        raise InputError(f"cannot write the experiment: {error.strerror}", where=str(own)) from None
    if not project.declared:
        os.environ.setdefault("SAFETYCATCH_STORE", str(project.store_root))
    return file


def _check_columns(settings: DataSettings, prompt: Path, model: str) -> None:
    """Refuse data whose columns have other names, before there is a run; a file of three lines can name them."""
    from safetycatch.data.loading import load_examples

    try:
        load_examples(settings, root=Path.cwd())
    except DataError as error:
        if not error.fix.startswith("data:"):
            raise
        lines = quick_look(settings.path, str(prompt), model).splitlines()[2:]
        fix = "\n".join(["as look.yaml, with: safetycatch run look.yaml", error.fix, *lines])
        raise DataError(error.found, where=error.where, expected=error.expected, fix=fix) from None


def _folder(project: Project) -> Path:
    root = project.root / STORE_NAME if project.declared else project.store_root
    return root / LOOKS


def _sum(budget: str) -> str:
    """Return a sum of money as the experiment file writes it."""
    text = budget.strip()
    if '"' in text or "\\" in text or "\n" in text:
        raise UsageError(f"found {budget!r}", where="--budget", expected="a sum such as $5")
    return text if text.startswith("$") else f"${text}"


def _write(path: Path, text: str) -> None:
    """Replace a small file; only we may read it."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
