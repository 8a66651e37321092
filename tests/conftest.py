"""One Hypothesis profile for the whole session, and the public sets that lie beside the repository."""

from pathlib import Path

import pytest
from hypothesis import settings

# Repeatable draws: a failure on one machine is a failure on every machine. A first import may take seconds.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("ci")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """The folder of the public sets."""
    if not SHARED.is_dir():
        pytest.skip("needs the public sets in ../shared/data, beside the repository")
    return SHARED


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of 100 rows and two functions that answer them; changed by the test, then run without Prefect."""
    for name in ("SAFETYCATCH_STORE", "SAFETYCATCH_ENDPOINT_BOX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.setenv("OPENAI_API_KEY", "no-key")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    from tests.wiring import Project

    return Project(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def own_prefect(tmp_path_factory):
    """Environment variables for commands of a process of their own: one Prefect server for all of them."""
    from safetycatch.cli.local_server import LocalServer

    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        started = LocalServer(home / "server.log")
    try:
        started.wait()
        yield {"PREFECT_HOME": str(home), "PREFECT_API_URL": started.url}
    finally:
        started.stop()


@pytest.fixture
def box(monkeypatch):
    """Starts an endpoint `box` with faults."""
    from safetycatch.sandbox import SandboxSettings, parse_fault, running

    with pytest.MonkeyPatch.context() as patch:
        opened = []

        def serve(*faults):
            server = running(SandboxSettings(faults=tuple(parse_fault(text) for text in faults)))
            opened.append(server)
            found = server.__enter__()
            patch.setenv("SAFETYCATCH_ENDPOINT_BOX", found.base_url)
            return found

        yield serve
        for server in opened:
            server.__exit__(None, None, None)
