import ast
import inspect
import sys
from pathlib import Path

import pytest

from safetycatch.cli import pipeline
from safetycatch.errors import SafetycatchError
from safetycatch.project import find_project

OURS = Path(__file__).parents[2]
NAMES = ("flows", "tasks", "datasets")


@pytest.fixture
def users(tmp_path, monkeypatch):
    """A folder with the user's own modules of our names."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"MINE = {name!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] in NAMES]:
        monkeypatch.delitem(sys.modules, name)
    yield tmp_path
    for name in NAMES:
        sys.modules.pop(name, None)


def test_ours_loads_before_the_users(users):
    ours = pipeline.module("tasks.session")
    import datasets
    import flows
    import tasks

    assert [m.MINE for m in (flows, tasks, datasets)] == list(NAMES)
    assert ours.WATCHER


def test_ours_loads_after_the_users(users):
    import flows
    import tasks

    ours = pipeline.module("tasks.session")
    assert sys.modules["tasks"] is tasks
    assert sys.modules["flows"] is flows
    assert Path(ours.__file__).is_relative_to(OURS)


def test_a_second_load_returns_the_same_objects(users):
    assert pipeline.module("tasks.session") is pipeline.module("tasks.session")
    assert pipeline.module("flows.evaluate").session is pipeline.module("tasks.session").session


def test_no_name_of_ours_stays_behind(users):
    pipeline.module("flows.evaluate")
    assert not [name for name in sys.modules if name.partition(".")[0] in pipeline.PACKAGES]
    assert not any(isinstance(finder, pipeline._Finder) for finder in sys.meta_path)


def test_nothing_of_an_unrelated_folder_is_executed(tmp_path):
    (tmp_path / "flows").mkdir()
    for name in ("__init__", "evaluate"):
        (tmp_path / "flows" / f"{name}.py").write_text("raise SystemExit('executed')\n")
    assert pipeline.flow("evaluate", find_project(tmp_path)).name == "evaluate"


def test_a_declared_projects_own_flow_is_used_with_our_tasks(tmp_path):
    (tmp_path / "safetycatch.yaml").write_text("")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").touch()
    (tmp_path / "flows" / "evaluate.py").write_text("from tasks.session import WATCHER\nevaluate = 'mine'\n")
    project = find_project(tmp_path)
    assert pipeline.flow("evaluate", project) == "mine"
    assert pipeline.flow("evaluate").name == "evaluate"


def test_a_module_that_is_not_there_is_named(users):
    with pytest.raises(SafetycatchError, match=r"flows\.nope"):
        pipeline.module("flows.nope")


def test_prefect_still_finds_source_and_cache_key():
    stage = pipeline.module("tasks.load").load
    assert "load_examples" in inspect.getsource(stage.fn)
    assert stage.source_code
    assert stage.cache_key_fn is not None


def test_flows_and_tasks_import_each_other_at_the_top_only():
    # Later, inside a function, their names may be the user's.
    late = [
        f"{path.relative_to(OURS)}:{inner.lineno}"
        for package in pipeline.PACKAGES
        for path in (OURS / package).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(node)
        if _imports_ours(inner)
    ]
    assert late == []


def _imports_ours(node):
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    return any(name.partition(".")[0] in pipeline.PACKAGES for name in names)
