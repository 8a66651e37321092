import os

import pytest

from safetycatch.folders import make_private


def test_every_folder_made_is_its_owner_s_only(tmp_path):
    old = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(old)
    made = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    assert [folder.stat().st_mode & 0o777 for folder in made] == [0o700] * 3


def test_folders_that_are_there_stay_as_they_are(tmp_path):
    (tmp_path / "shared").mkdir(mode=0o755)
    make_private(tmp_path / "shared" / "own")
    make_private(tmp_path / "shared" / "own")
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755


def test_a_file_in_its_place_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="directory"):
        make_private(tmp_path / "file")
