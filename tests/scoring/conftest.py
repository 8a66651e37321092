"""Rows of replies, and the public sets that lie beside the repository."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("scoring", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("scoring")


@pytest.fixture(scope="session")
def shared_data():
    def folder(name):
        path = Path(__file__).parents[2].parent / "shared" / "data" / name
        path = path if path.exists() else Path(__file__).parents[2] / "shared" / "data" / name
        if not path.exists():
            pytest.skip(f"needs the public set {name} in shared/data")
        return path

    return folder


@pytest.fixture(scope="session")
def reply():
    def build(output, status="answer", **more):
        return {"example_id": "e1", "status": status, "output": output, **more}

    return build
