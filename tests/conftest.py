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
