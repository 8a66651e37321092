"""`init`: a folder that `check` and `run` work in at once, without a key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safetycatch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE_TICKETS = 240
DEPLOYMENTS = Path("deployments") / "prefect.yaml"
CI = Path("deployments") / "ci" / "github-actions.yml"
WORKFLOW = Path(".github") / "workflows" / "safetycatch.yml"

PROJECT_FILE = """\
# Settings of this project. Keys stay in the environment: OPENAI_API_KEY, SAFETYCATCH_KEY_<NAME>.
store: .safetycatch
# endpoints:
#   local: http://127.0.0.1:8000/v1          # any OpenAI-compatible server: model: {endpoint: local, model: …}
# prices:
#   local/my-model: {input_per_m: 0, output_per_m: 0}
"""

EXPERIMENT = """\
# A quick look at three prompts on the sandbox: tiny learners on this machine, no key, no cost.
#   safetycatch check experiments/example.yaml
#   safetycatch run experiments/example.yaml
# Other keys of this file: safetycatch explain experiment
data:
  path: tickets.csv
  id: ticket_id
  input: text
  target: label
  group: customer_id                       # a customer's tickets stay on one side of the split
  slices: [language]
task: classify
defaults:
  prompt: example.md
  model: sandbox/in-context                # later: openai/gpt-4o-mini, or {endpoint: local, model: …}
  params: {temperature: 0}
candidates:
  - {id: zero}                             # the first is the baseline
  - {id: static4, shots: {select: static, k: 4}}
  - {id: knn8, shots: {select: knn, k: 8}}
budget: $1                                 # the ceiling: nothing above it is sent
# Exploring scores dev and never opens test. To claim a winner:
# claim: {metric: accuracy, smallest_effect: 7 points}
"""

PROMPT = """\
You route support tickets of a small online shop to the team that can solve them.

Answer with one of these labels and nothing else:
{% for label in labels %}
- {{ label }}
{% endfor %}
"""


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel="Evaluate")(init)


def init(
    folder: Annotated[Path, typer.Argument(help="Where; it is made when missing.")] = Path(),
    with_flows: Annotated[
        bool, typer.Option("--with-flows", help="Copy flows/ and tasks/ too, to change and to deploy them.")
    ] = False,
    with_ci: Annotated[
        bool, typer.Option("--with-ci", help="Write a GitHub workflow with the gate, to change its five settings.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Start a project with an example that runs without a key; never overwrites a file."""
    from safetycatch.cli.output import Output

    output = Output(json=json)
    written: list[str] = []
    kept: list[str] = []
    for name, content in _files(with_flows=with_flows, with_ci=with_ci):
        (written if _create(folder / name, content) else kept).append(str(name))
    output.document({"folder": str(folder.absolute()), "written": written, "kept": kept})
    if json:
        return
    for name in written:
        output.field("written", name)
    for name in kept:
        output.field("kept", f"{name} (it was there)")
    where = "" if folder == Path() else f"cd {folder} && "
    output.field("next", f"{where}safetycatch check experiments/example.yaml")
    if str(WORKFLOW) in written:
        output.field("", f"then name your experiment and your key in {WORKFLOW}")


def _files(*, with_flows: bool, with_ci: bool) -> Iterator[tuple[Path, bytes]]:
    """Yield the files of a new project: path and content."""
    from safetycatch.sandbox.tickets import make_tickets, tickets_csv

    yield Path("safetycatch.yaml"), PROJECT_FILE.encode()
    yield Path(".gitignore"), b".safetycatch/\n"
    yield Path("experiments/example.yaml"), EXPERIMENT.encode()
    yield Path("experiments/example.md"), PROMPT.encode()
    yield Path("experiments/tickets.csv"), tickets_csv(make_tickets()[:SAMPLE_TICKETS]).encode()
    if with_flows:
        yield from _flow_files()
    if with_ci:
        from safetycatch.cli.pipeline import home

        yield WORKFLOW, (home() / CI).read_bytes()


def _flow_files() -> Iterator[tuple[Path, bytes]]:
    from safetycatch.cli.pipeline import PACKAGES, home

    ours = home()
    for package in PACKAGES:
        for path in sorted((ours / package).rglob("*.py")):
            yield path.relative_to(ours), path.read_bytes()
    if (ours / DEPLOYMENTS).is_file():
        text = (ours / DEPLOYMENTS).read_text(encoding="utf-8")
        for name in ("demo", "judged", "nightly"):
            text = text.replace(f"experiments/{name}.yaml", "experiments/example.yaml")
        yield DEPLOYMENTS, text.encode()


def _create(path: Path, content: bytes) -> bool:
    """Write a file that is not there yet; return whether it was written.

    Raises: InputError when the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(content)
    except FileExistsError:
        if path.parent.is_dir():
            return False
        raise InputError("a file is where a folder is needed", where=str(path.parent)) from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None
    return True
