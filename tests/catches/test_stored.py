import pytest

from safetycatch.catches import results

SOUND = {"writable": True, "locks_work": True, "free_bytes": 5_000_000_000, "reason": "", "place": ".safetycatch"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"writable": False}, ".safetycatch: not writable"),
        ({"writable": False, "reason": "read-only file system"}, "read-only file system"),
        ({"locks_work": False}, "file locks do not exclude"),
        ({"free_bytes": 1, "reason": "1 byte free"}, "1 byte free"),
    ],
)
def test_sc1201_fires_on_an_unsound_store(fired, policy, changes, said):
    found = results.store_is_sound(**{**SOUND, **changes})
    fired(found, "refuse", said, "store:")
    assert policy(claiming=False).finding(found).refuses


def test_sc1201_silent_on_a_sound_one(silent):
    silent(results.store_is_sound(**SOUND), "passed", "5.0 GB free")


def test_sc1202_fires_on_a_damaged_file(fired):
    found = results.artifacts_are_whole(
        problems=[("a.parquet", "altered", "sha256"), ("b", "missing", "")], n_checked=9
    )
    fired(found, "refuse", "2 of 9 files are damaged, e.g. a.parquet: altered (sha256)")


def test_sc1202_silent_on_whole_files(silent):
    silent(results.artifacts_are_whole(problems=[], n_checked=9), "passed", "9 files")
