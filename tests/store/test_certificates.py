"""Certificates in a store: named by content, the newest first, damage told."""

from datetime import timedelta

import pytest

from safetycatch.errors import StoreError
from safetycatch.store import Store
from safetycatch.store import manifest as manifests
from safetycatch.store.certificates import Certificates
from safetycatch.store.sealings import join, parts_before
from safetycatch.store.verify import verify
from tests.judging.certified import NOW, certificate


@pytest.fixture
def place(tmp_path):
    return Store.open(tmp_path / "store")


def test_saved_twice_is_one_file(place):
    kept = Certificates(place)
    first = kept.save(certificate())
    assert kept.save(certificate()) == first
    assert kept.all() == [certificate()]
    assert kept.load("0" * 64) is None


def test_the_newest_of_an_experiment_and_of_a_judge(place):
    kept, newer = Certificates(place), certificate(issued_at=NOW + timedelta(days=1), judge_key="m" * 64)
    for one in (newer, certificate(), certificate(experiment="other", judge_key="m" * 64)):
        kept.save(one)
    assert kept.newest("e") == newer
    assert kept.of("k" * 64) == certificate()
    assert kept.of("m" * 64) == newer
    assert kept.newest("nobody") is kept.of("0") is None


def test_a_certificate_on_other_labels_is_not_taken(place):
    kept = Certificates(place)
    own = certificate(sealed_keys=("a", "b"))
    kept.save(own)
    kept.save(certificate(sealed_keys=("c", "d", "e"), issued_at=NOW + timedelta(days=1)))
    assert kept.of("k" * 64, {"b", "c"}) == own
    assert kept.of("k" * 64, {"c"}) is None


def test_a_later_drift_check_is_newer(place):
    kept = Certificates(place)
    for number in (2, 1):
        kept.save(certificate(drift={"round": number}))
    assert kept.newest("e").drift == {"round": 2}


def test_damage_is_told_by_reading_and_by_verify(place):
    kept = Certificates(place)
    path = place.root / "certificates" / f"{kept.save(certificate())}.json"
    path.write_text(path.read_text().replace("certified", "refused"))
    with pytest.raises(StoreError):
        kept.all()
    assert [problem.path for problem in verify(place)] == [f"certificates/{path.name}"]


def test_a_certificate_under_another_name_is_damage(place):
    kept = Certificates(place)
    path = place.root / "certificates" / f"{kept.save(certificate())}.json"
    path.rename(path.with_name(f"{'0' * 64}.json"))
    with pytest.raises(StoreError):
        kept.all()


def test_parts_are_added_and_never_moved(place):
    join(place, lambda _: {"a": "dev"})
    join(place, lambda before: {**dict.fromkeys(before, "sealed"), "b": "sealed"})
    assert parts_before(place) == {"a": "dev", "b": "sealed"}


def test_deals_of_single_experiments_are_read_along(place):
    join(place, lambda _: {"a": "dev", "b": "sealed", "c": "few_shot"})
    (path,) = (place.root / "sealed_labels").iterdir()
    path.rename(path.with_name(f"{'0' * 40}.json"))
    join(place, lambda _: {"d": "dev"})
    path.rename(path.with_name(f"{'1' * 40}.json"))
    other = {"experiment": "e", "parts": {"a": "sealed", "b": "sealed", "c": "dev"}}
    place.tree.write(manifests.render(other), "sealed_labels", f"{'2' * 40}.json")
    assert parts_before(place) == {"a": "left_out", "b": "sealed", "c": "few_shot", "d": "dev"}


def test_a_damaged_deal_is_told(place):
    join(place, lambda _: {"a": "dev"})
    (path,) = (place.root / "sealed_labels").iterdir()
    path.write_text(path.read_text().replace("dev", "sealed"))
    with pytest.raises(StoreError):
        parts_before(place)
    assert [problem.path for problem in verify(place)] == [f"sealed_labels/{path.name}"]
