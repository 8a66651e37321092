"""The README says what the code does."""

import re
import runpy
from pathlib import Path

import pytest

from safetycatch import errors
from safetycatch.catches import CATCHES
from safetycatch.experiment import parse_experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_are_current():
    current = runpy.run_path(str(ROOT / "tests" / "readme.py"))["current"]
    assert current(README) == README, "run: python tests/readme.py"


def test_the_number_of_catches_is_right():
    assert [int(n) for n in re.findall(r"(\d+) \*safety catches\*", README)] == [len(CATCHES)]


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL))
def test_the_experiments_shown_are_valid(text):
    parse_experiment(text, "README.md", "readme")


def test_the_exit_codes_are_the_code_s():
    shown = {int(n) for row in re.findall(r"^\| ([\d, ]+) \| ", README, flags=re.MULTILINE) for n in row.split(",")}
    assert shown == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []
