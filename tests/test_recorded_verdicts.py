"""Files of recorded verdicts that no honest tool wrote: told in a line, without what lies behind a link."""

import pytest

from safetycatch.errors import DataError
from tests.test_judging import ITEMS, asked, recorded


@pytest.fixture
def judged(project):
    (project.folder / "judge.md").write_text("Passes when it is polite.\n")
    return project


@pytest.mark.parametrize("replicate", ["9" * 5000, "1" * 10, "-1", "1.0"])
def test_a_replicate_is_a_small_whole_number(judged, replicate):
    recorded(judged, [{"example_id": "e1", "verdict": "pass", "replicate": replicate}])
    with pytest.raises(DataError, match="column replicate"):
        asked(judged, ITEMS)


@pytest.mark.parametrize("content", ["root:x:0:0:secret\nmore\n", "secret,verdict\nx,pass\n"])
def test_nothing_behind_a_link_is_shown(judged, tmp_path_factory, content):
    recorded(judged, [{"example_id": "e1", "verdict": "pass"}])
    target = tmp_path_factory.mktemp("else") / "passwd"
    target.write_text(content)
    (judged.folder / "verdicts.csv").unlink()
    (judged.folder / "verdicts.csv").symlink_to(target)
    with pytest.raises(DataError, match="a link to a file") as raised:
        asked(judged, ITEMS)
    assert "secret" not in str(raised.value)


def test_a_link_to_verdicts_is_read(judged):
    recorded(judged, [{"example_id": "e1", "verdict": "pass"}])
    (judged.folder / "verdicts.csv").rename(judged.folder / "kept.csv")
    (judged.folder / "verdicts.csv").symlink_to("kept.csv")
    assert asked(judged, ITEMS[:1])[0]["verdict"] == "pass"
