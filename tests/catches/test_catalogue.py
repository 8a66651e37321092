import re
from pathlib import Path

import pytest

from safetycatch.catches import CATCHES
from safetycatch.catches.catalogue import SERIES, checked_settings, markdown_table
from safetycatch.errors import ExperimentError
from safetycatch.experiment import CatchSettings

# The codes marked "!" in the design: they refuse while exploring too.
ALWAYS = {"SC204", "SC301", "SC303", "SC307", "SC509", "SC702", "SC801", "SC1201", "SC1202"}


@pytest.mark.parametrize("code", CATCHES)
@pytest.mark.parametrize("what", ["fires", "silent"])
def test_every_catch_is_shown_to_fire_and_to_be_silent(code, what):
    tests = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert re.search(rf"^def test_{code.lower()}_{what}\w*\(", tests, re.MULTILINE)


@pytest.mark.parametrize("catch", CATCHES.values(), ids=lambda catch: catch.code)
def test_every_catch_explains_itself(catch):
    text = catch.explanation()
    assert all(part in text for part in (catch.code, catch.title, catch.fires_when, catch.why, catch.source))
    assert catch.series in SERIES.values()
    assert all(f"{name} = " in text for name in catch.thresholds)
    assert ("set it" in text) == catch.overridable


def test_the_always_codes_are_those_of_the_design():
    assert {code for code, catch in CATCHES.items() if catch.always} == ALWAYS


def test_codes_are_in_order():
    assert list(CATCHES) == sorted(CATCHES, key=lambda code: int(code[2:]))


def test_the_table_has_a_row_a_catch():
    rows = markdown_table().splitlines()
    assert len(rows) == len(CATCHES) + 2
    assert all(row.count("|") == 4 for row in rows)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sc501": "off"}, "did you mean SC501?"),
        ({"SC501": {"nearest": 0.7}}, "near, similar, prompt"),
        ({"SC701": {"near": 0.7}}, "none: refuse, warn or off"),
        ({"SC1202": "off"}, "SC1202 set to off"),
        ({"SC303": "warn"}, "SC303 set to warn"),
    ],
)
def test_settings_that_nothing_reads_are_refused(settings, said):
    read = {code: CatchSettings.model_validate(written) for code, written in settings.items()}
    with pytest.raises(ExperimentError) as caught:
        checked_settings(read, "x.yaml")
    assert said in str(caught.value)
    assert caught.value.where.startswith("x.yaml: catches")


def test_settings_of_what_exists_are_taken():
    written = {"SC501": {"level": "warn", "near": 0.7}, "SC510": "off", "SC1202": "refuse"}
    checked_settings({code: CatchSettings.model_validate(own) for code, own in written.items()}, "x.yaml")
