"""What the checkout's folders hold, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import safetycatch

ROOT = Path(__file__).parents[1]
# Each of them takes 0.1 to 10 s to import.
HEAVY = {"litellm", "numpy", "openai", "pandas", "prefect", "pyarrow", "scipy", "sklearn"}


@pytest.mark.parametrize(
    "code",
    [
        "import safetycatch; safetycatch.__version__",
        "from safetycatch.cli.main import main; main(['--help'])",
        "from safetycatch.cli.main import main; main(['run', '--help'])",
        "import safetycatch.data, safetycatch.project; safetycatch.load_experiment",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(code):
    code = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "safetycatch" in ended.stderr.split()
    assert HEAVY.intersection(ended.stderr.split()) == set()


def test_every_public_name_is_there():
    assert {name: getattr(safetycatch, name) for name in safetycatch.__all__}
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = safetycatch.nothing


@pytest.mark.parametrize("folder", ["datasets", "deployments"])
def test_folders_of_data_hold_no_code(folder):
    # A datasets/__init__.py would shadow the library of that name.
    assert list((ROOT / folder).rglob("*.py")) == []
    assert (ROOT / folder).is_dir()


def test_every_own_data_set_has_a_card():
    assert [
        path.parent.name for path in (ROOT / "datasets").rglob("*.csv") if not (path.parent / "CARD.md").is_file()
    ] == []


def test_the_pipeline_imports_its_own_parts_at_the_top():
    # Late, `tasks` could be the user's: docs/decisions/0001-flows-and-tasks-beside-src.md.
    late = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("flows", "tasks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name.partition(".")[0] in {"flows", "tasks"}
    ]
    assert late == []


def test_constraints_name_versions_only():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "/" in line or "@" in line or "==" not in line] == []
