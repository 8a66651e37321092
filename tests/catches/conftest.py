"""What a catch saw, under the settings of a test."""

import re

import pytest

from safetycatch.catches import Policy
from safetycatch.experiment import CatchSettings


@pytest.fixture(scope="session")
def policy():
    def build(*, claiming=True, overrides=None, **settings):
        read = {code: CatchSettings.model_validate(written) for code, written in settings.items()}
        return Policy(claiming=claiming, settings=read, overrides=overrides or {})

    return build


@pytest.fixture(scope="session")
def fired(policy):
    """Check that an observation fired at `level` and says each of `words`, the four parts in order."""

    def check(observation, level, *words):
        finding = policy().finding(observation)
        text = finding.text()
        assert (observation.seen, finding.level) == ("fired", level)
        assert all(word in text for word in words), text
        labels = [line.split()[0] for line in text.splitlines()[1:] if line.startswith("  ")]
        assert labels == ["saw", "matters", "fix", "or"][: len(labels)]
        assert len(labels) == (4 if finding.alternative else 3)
        known = re.sub(r"\{(…|by:|metric:|SC504:|looks:)", "", text)
        assert "{" not in known or "budget: {" in text

    return check


@pytest.fixture(scope="session")
def silent(policy):
    """Check that an observation did not fire, and what it says instead."""

    def check(observation, seen="passed", *words):
        finding = policy().finding(observation)
        assert (observation.seen, finding.status) == (seen, seen)
        assert finding.alternative == ""
        assert all(word in finding.saw for word in words), finding.saw
        assert not finding.refuses

    return check
