"""The wheel: what it holds, and that it runs where there is nothing else."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from safetycatch.sandbox.tickets import make_tickets, tickets_csv

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PIPELINE = "safetycatch/_pipeline/"

EXPERIMENT = """\
data: {path: tickets.csv, id: ticket_id, input: text, target: label, group: customer_id}
prompts: [route.md]
models: [sandbox/in-context]
shots: [zero, {select: knn, k: 2}]
scorers: [accuracy, "scores:words"]
"""
SCORES = """\
import datasets, flows, tasks

def words(output, target, row):
    return float(tasks.MINE and flows.MINE and datasets.MINE) * len(output.split())
"""


def run(*command, cwd, ok=True, **environment):
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "PREFECT_"))
    }
    ended = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0 or not ok, (
        f"{command}: exit {ended.returncode}\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
    )
    return ended.stdout


@pytest.fixture(scope="session")
def uv():
    """The path of a uv that runs, or None."""
    found = shutil.which("uv")
    works = found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0
    return found if works else None


@pytest.fixture(scope="session")
def built(tmp_path_factory, uv):
    """`(wheel made from the source archive, wheel made from the checkout, source archive)`."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", *(["--installer", "uv"] if uv else []), "--outdir"]
    run(*build, folder, ROOT, cwd=folder)
    run(*build, folder / "direct", "--wheel", ROOT, cwd=folder)
    (wheel,), (direct,), (archive,) = (list(folder.glob(at)) for at in ("*.whl", "direct/*.whl", "*.tar.gz"))
    return wheel, direct, archive


@pytest.fixture(scope="session")
def installed(tmp_path_factory, built, uv):
    """The `bin` folder of an environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment")
    wanted = ["-c", ROOT / "constraints.txt", built[0]]
    if uv:
        run(uv, "venv", "--python", sys.executable, folder / "venv", cwd=folder)
        run(uv, "pip", "install", "--python", folder / "venv", *wanted, cwd=folder)
    else:
        venv.create(folder / "venv", with_pip=True)
        run(folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted, cwd=folder)
    return folder / "venv" / "bin"


def test_the_only_import_name_is_safetycatch(built):
    names = zipfile.ZipFile(built[0]).namelist()
    top = {name.partition("/")[0] for name in names}
    (metadata,) = top - {"safetycatch"}
    assert metadata.startswith("safetycatch-")
    assert metadata.endswith(".dist-info")


def test_the_pipeline_is_inside(built):
    held = {name.removeprefix(PIPELINE) for name in zipfile.ZipFile(built[0]).namelist() if name.startswith(PIPELINE)}
    files = {str(path.relative_to(ROOT)) for folder in ("flows", "tasks") for path in (ROOT / folder).rglob("*.py")}
    ci = {f"deployments/ci/{name}" for name in ("README.md", "github-actions.yml", "gitlab-ci.yml")}
    assert held == files | ci | {"deployments/prefect.yaml"}


def test_it_holds_the_library_and_nothing_else(built):
    names = [name for name in zipfile.ZipFile(built[0]).namelist() if name.startswith("safetycatch/")]
    source = {
        f"safetycatch/{path.relative_to(ROOT / 'src' / 'safetycatch')}"
        for path in (ROOT / "src" / "safetycatch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(PIPELINE)} == source


def test_the_source_archive_builds_the_same_wheel(built):
    wheel, direct, _ = (
        {name: file.read(name) for name in file.namelist()} for file in map(zipfile.ZipFile, [*built[:2], built[0]])
    )
    assert {name for name in wheel if wheel[name] != direct.get(name)} == set()
    assert set(wheel) == set(direct)


def test_the_source_archive_brings_tests_data_and_documentation(built):
    with tarfile.open(built[2]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "tests/wheel/test_wheel.py",
        "datasets/tickets/CARD.md",
        "docs/statistics.md",
        "constraints.txt",
        "Makefile",
    }
    assert wanted - held == set()


def test_a_new_project_needs_nothing_else_and_runs_none_of_its_modules(installed, tmp_path):
    for name in ("flows", "tasks", "datasets"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('executed')")
    home = {"HOME": str(tmp_path / "home"), "PREFECT_HOME": str(tmp_path / "home")}
    run(installed / "safetycatch", "init", "--with-ci", cwd=tmp_path, **home)
    assert "safetycatch gate" in (tmp_path / ".github" / "workflows" / "safetycatch.yml").read_text(encoding="utf-8")
    checked = json.loads(
        run(installed / "safetycatch", "check", "experiments/example.yaml", "--json", cwd=tmp_path, **home)
    )
    assert checked["findings"]


def test_an_experiment_runs_beside_the_user_s_own_flows_tasks_and_datasets(installed, tmp_path):
    for name in ("flows", "tasks", "datasets"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    (tmp_path / "scores.py").write_text(SCORES)
    (tmp_path / "route.md").write_text("Route it.\n{% for label in labels %}{{ label }}\n{% endfor %}")
    (tmp_path / "tickets.csv").write_text(tickets_csv(make_tickets()[:100]))
    (tmp_path / "look.yaml").write_text(EXPERIMENT)
    home = {"HOME": str(tmp_path / "home"), "PREFECT_HOME": str(tmp_path / "home")}
    result = json.loads(run(installed / "safetycatch", "run", "look.yaml", "--json", cwd=tmp_path, **home))
    assert result["verdict"] == "EXPLORING"
    assert result["calls"]["errors"] == 0
    assert {row["id"] for row in result["candidates"]} == {"zero", "knn2"}
    assert Path(result["report"]).is_relative_to(tmp_path)
    assert "scores:words" in Path(result["report"]).read_text(encoding="utf-8")


def test_the_pytest_plugin_comes_with_the_wheel(installed, uv, tmp_path):
    python = installed / "python"
    wanted = ["pytest", "-c", ROOT / "constraints.txt"]
    run(*([uv, "pip", "install", "--python"] if uv else []), python, *([] if uv else ["-m", "pip", "install"]), *wanted,
        cwd=tmp_path)  # fmt: skip
    for name in ("flows", "tasks", "datasets"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('executed')")
    (tmp_path / "conftest.py").write_text("import pytest\n\n@pytest.fixture\ndef mine():\n    return 60\n")
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n\n@pytest.mark.safetycatch(budget='$1')\ndef test_mine(safetycatch, mine):\n"
        "    assert safetycatch.rate([1] * mine, at_least=0.9)\n"
    )
    assert "1 passed" in run(python, "-m", "pytest", "--strict-markers", "-W", "error", tmp_path, cwd=tmp_path)
