"""Rows of replies."""

import pytest


@pytest.fixture(scope="session")
def reply():
    def build(output, status="answer", **more):
        return {"example_id": "e1", "status": status, "output": output, **more}

    return build
