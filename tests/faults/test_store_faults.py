"""What is visible in a store after its disk failed, filled up or its process died, at every single disk call."""

import errno
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from safetycatch.errors import StoreError
from safetycatch.store import Runs, Store, verify
from safetycatch.store.disk import TEMPORARY_PREFIX, Disk

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TABLE = pa.table({"x": list(range(50))})
CALLS = ("open", "write", "fsync", "rename", "unlink", "mkdir")
HARMLESS = {"unlisted"}  # a table renamed into place just before its manifest: nobody takes it for an artifact
KILLER = Path(__file__).with_name("store_killer.py")


@pytest.fixture(autouse=True)
def outside_any_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class QuickDisk(Disk):
    """Does not wait for the medium: only a power cut, which no test here makes, would tell the difference."""

    def fsync(self, fd):
        pass


class FailingDisk(QuickDisk):
    """Raises `code` at the n-th call of one kind (or of any), once or from then on."""

    def __init__(self, kinds, failing_call, code, *, forever):
        self.kinds, self.failing_call, self.code, self.forever = kinds, failing_call, code, forever
        self.calls = 0

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        return self.counted(method) if name in CALLS and name in self.kinds else method

    def counted(self, method):
        def call(*given):
            self.calls += 1
            if self.calls == self.failing_call or (self.forever and self.calls > self.failing_call):
                raise OSError(self.code, os.strerror(self.code))
            return method(*given)

        return call


def work(store):
    ref = store.write("s", "f", TABLE, settings={}, parents=[], version="1")
    with Runs(store).begin("t", "i", config={}, now=NOW) as run:
        run.snapshot({"x.yaml": b"data"})
        run.write_table("rows", TABLE)
        run.write_text("report.html", "text")
        return ref, run.finish("done", {}, now=NOW)


def strays(root):
    return list(root.rglob(f"{TEMPORARY_PREFIX}*"))


def assert_recovers(root):
    """Nothing half is visible, and the same work then succeeds and leaves no stray."""
    store = Store.open(root, disk=QuickDisk())
    assert {problem.kind for problem in verify(store)} <= HARMLESS
    assert strays(root) == []
    ref, run = work(store)
    assert store.read(ref).equals(TABLE)
    assert run.table("rows").equals(TABLE)
    assert run.run_id.startswith("2026-03-01-t-")
    assert store.quarantined == []
    assert verify(store) == []


@pytest.mark.parametrize(
    ("code", "forever"), [(errno.EIO, False), (errno.EIO, True), (errno.ENOSPC, True)], ids=["once", "dead", "full"]
)
def test_r02_failing_at_the_nth_disk_call_leaves_nothing_half(tmp_path, code, forever):
    kinds = ("write", "fsync", "mkdir") if code == errno.ENOSPC else CALLS
    number = 0
    for number in range(1, 200):
        root = tmp_path / str(number)
        disk = FailingDisk(kinds, number, code, forever=forever)
        try:
            work(Store.open(root, disk=disk))
        except StoreError as error:
            assert str(root) in str(error)  # noqa: PT017
        assert_recovers(root)
        if disk.calls < number:
            break
    assert 20 < number < 199


def test_r01_r02_dying_at_the_nth_disk_call_leaves_nothing_half(tmp_path):
    done = subprocess.run(
        [sys.executable, KILLER, "at-call", tmp_path, "0"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    died = int(done.stdout)
    assert died > 60
    for number in range(died):
        if (tmp_path / str(number)).exists():
            assert_recovers(tmp_path / str(number))


def test_r02_twenty_five_kills_at_random_moments_leave_nothing_half(tmp_path):
    done = subprocess.run(
        [sys.executable, KILLER, "random", tmp_path, "25"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert int(done.stdout) == 25
    seen = 0
    for number in range(25):
        root = tmp_path / str(number)
        if not root.exists():
            continue
        store = Store.open(root)
        assert strays(root) == []
        assert {problem.kind for problem in verify(store)} <= HARMLESS
        for path in sorted((root / "artifacts").rglob("*.json")):
            ref = store.find("s", path.stem)
            assert store.read(ref).num_rows == ref.rows == 1 << int(path.stem) % 14
            seen += 1
        assert store.quarantined == []
    assert seen  # on a busy machine the kills come early


def test_r07_a_full_disk_is_named_and_the_old_artifact_stays(tmp_path):
    store = Store.open(tmp_path / "s")
    old = store.write("s", "old", TABLE, settings={}, parents=[], version="1")
    full = Store.open(store.root, disk=FailingDisk(("write",), 5, errno.ENOSPC, forever=True))
    with pytest.raises(
        StoreError, match=r"cannot write \(after \d+ bytes\) .*new\.(parquet|json): No space.*free some"
    ):
        full.write("s", "new", TABLE, settings={}, parents=[], version="1")
    assert strays(store.root) == []
    assert store.read(old).equals(TABLE)
    assert store.find("s", "new") is None


@pytest.mark.parametrize("size_kb", [16, 64, 256])
def test_r07_a_really_full_file_system(tmp_path, size_kb):
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k,mode=0700", "safetycatch-test", str(mount)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        noise = pa.table({"x": os.urandom(400_000).hex(" ").split()})
        try:
            store = Store.open(mount, min_free_bytes=0)
        except StoreError as error:
            assert "No space" in str(error)  # noqa: PT017
            return
        with pytest.raises(StoreError, match="No space"):
            store.write("s", "big", noise, settings={}, parents=[], version="1")
        assert store.find("s", "big") is None
        assert strays(mount) == []
        small = store.write("s", "small", TABLE, settings={}, parents=[], version="1")
        assert store.read(small).equals(TABLE)
        subprocess.run(["mount", "-o", "remount,size=8m", str(mount)], check=True)
        assert store.read(store.write("s", "big", noise, settings={}, parents=[], version="1")).equals(noise)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_r07_a_read_only_store_is_refused(tmp_path):
    disk = FailingDisk(("open", "mkdir"), 1, errno.EROFS, forever=True)
    with pytest.raises(StoreError, match=r"not writable.*Read-only"):
        Store.open(tmp_path / "s", disk=disk)
