"""What `verify` covers of judges, and that damage stops only whom it concerns."""

import pytest

from safetycatch.catches.results import artifacts_are_whole
from safetycatch.errors import StoreError
from safetycatch.store import verify
from safetycatch.store.certificates import Certificates
from safetycatch.store.sealings import join
from safetycatch.store.secret import judge_secret
from tests.judging.certified import certificate


def problems(store):
    return [(problem.path, problem.kind) for problem in verify(store)]


@pytest.fixture
def kept(store):
    return Certificates(store)


@pytest.fixture
def two(kept):
    """Certificates of two judges, that of `e` altered afterwards; its file."""
    kept.save(certificate(experiment="other", judge_key="m" * 64))
    path = kept.page(kept.save(certificate())).with_suffix(".json")
    path.write_text(path.read_text().replace("certified", "refused"))
    return path


def test_a_damaged_certificate_stops_only_its_own_judge(kept, two):
    assert kept.of("m" * 64) == kept.newest("other")
    assert kept.every("m" * 64)
    for asked in (lambda: kept.of("k" * 64), lambda: kept.newest("e")):
        with pytest.raises(StoreError, match=rf"(?s)fix      restore it; or mv {two} {two}.damaged"):
            asked()


def test_damage_that_no_longer_says_whose_it_is_stops_all(kept, two):
    two.write_bytes(b"")
    with pytest.raises(StoreError, match="fix      restore"):
        kept.of("m" * 64)


def test_what_is_moved_away_is_passed_over(kept, two, store):
    assert problems(store) == [(f"certificates/{two.name}", "altered")]
    two.rename(two.with_name(f"{two.name}.damaged"))
    assert kept.of("k" * 64) is None
    assert problems(store) == []


@pytest.mark.parametrize("text", ["<script>alert(1)</script>\n", "", "<p>figures\n"])
def test_a_replaced_page_is_told(kept, store, text):
    page = kept.write_page(kept.save(certificate()), "<p>figures\n\n")
    assert problems(store) == []
    page.write_text(text)
    assert problems(store) == [(f"certificates/{page.name}", "altered")]


def test_a_foreign_file_among_certificates_is_told(kept, store):
    kept.save(certificate())
    (store.root / "certificates" / "notes.txt").write_text("x")
    assert problems(store) == [("certificates/notes.txt", "unlisted")]


@pytest.mark.parametrize("text", ["zz", "", "ab" * 31])
def test_a_damaged_secret_is_told(store, text):
    judge_secret(store)
    assert problems(store) == []
    (store.root / "judge-secret").write_text(text)
    assert problems(store) == [("judge-secret", "altered")]


def test_recorded_verdicts_need_no_sealing(kept, store):
    kept.save(certificate(sealed_keys=("a",), judge={"judges": [], "returned": {}, "recorded_sha256": "r" * 64}))
    assert problems(store) == []


def test_a_sealing_that_is_gone_is_told(kept, store):
    join(store, lambda _: {"a": "sealed", "b": "dev"})
    kept.save(certificate(sealed_keys=("a",)))
    assert problems(store) == []
    for path in (store.root / "sealed_labels").iterdir():
        path.unlink()
    assert problems(store) == [("sealed_labels", "missing")]


@pytest.mark.parametrize(
    ("path", "fix"),
    [
        ("certificates/a.json", "rename it to a.json.damaged, then safetycatch calibrate"),
        ("judge-secret", "restore judge-secret"),
        ("runs/r/rows.parquet", "run the experiment again"),
    ],
)
def test_verify_says_what_mends_it(path, fix):
    assert fix in artifacts_are_whole(problems=[(path, "altered", "x")], n_checked=1).fix
