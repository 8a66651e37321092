import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from safetycatch.errors import StoreError
from safetycatch.store import lock
from safetycatch.store.disk import Disk

HOLDER = """
import sys, time
from pathlib import Path
from safetycatch.store import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

COUNTERS = """
import os, sys, time
from pathlib import Path
from safetycatch.store import lock
folder = Path(sys.argv[1])
counter = folder / "counter"
counter.write_text("0")
children = []
for _ in range(8):
    if child := os.fork():
        children.append(child)
        continue
    for _ in range(25):
        with lock(folder / "l"):
            now = int(counter.read_text())
            time.sleep(0.0005)
            counter.write_text(str(now + 1))
    os._exit(0)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
print(counter.read_text(), sorted(os.listdir(folder)))
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "l")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_r04_eight_processes_never_hold_it_together(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COUNTERS, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "200 ['counter']\n"


def test_threads_never_hold_it_together(tmp_path):
    inside, most = [], []

    def work(number):
        with lock(tmp_path / "l"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.001)
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert set(most) == {1}


def test_r05_death_releases_it_within_a_second(tmp_path, holder):
    began = []

    def wait(_message):
        if not began:
            holder.send_signal(signal.SIGKILL)
            began.append(time.monotonic())

    with lock(tmp_path / "l", wait=wait, timeout=10):
        assert time.monotonic() - began[0] < 1


def test_a_stopped_holder_keeps_it(tmp_path, holder):
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreError, match=f"in use by process {holder.pid}"), lock(tmp_path / "l", timeout=0.05):
        pass


def test_waiting_is_told_at_once_and_then_every_quarter_minute(tmp_path, holder):
    now, messages = [0.0], []

    def sleep(pause):
        now[0] += pause

    with (
        pytest.raises(StoreError, match=r"the thing .* gave up after 40"),
        lock(tmp_path / "l", wait=messages.append, timeout=40, what="the thing", clock=lambda: now[0], sleep=sleep),
    ):
        pass
    assert len(messages) == 3
    assert "waiting (0 s so far)" in messages[0]


def test_taking_it_twice_in_one_thread_is_an_error_not_a_wait(tmp_path):
    with lock(tmp_path / "l"), pytest.raises(RuntimeError, match="already holds"), lock(tmp_path / "l"):
        pass
    with lock(tmp_path / "l"):
        pass


def test_it_is_released_when_the_block_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), lock(tmp_path / "l"):
        _ = 1 / 0
    with lock(tmp_path / "l", timeout=0):
        pass


def test_other_locks_do_not_wait(tmp_path, holder):
    with lock(tmp_path / "other", timeout=0):
        pass


def test_a_left_over_lock_file_means_nothing(tmp_path):
    (tmp_path / "l").write_text(str(os.getpid()))
    with lock(tmp_path / "l", timeout=0):
        pass
    assert not (tmp_path / "l").exists()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "l").symlink_to(tmp_path / "target")
    with pytest.raises(StoreError, match="cannot lock"), lock(tmp_path / "l"):
        pass
    assert not (tmp_path / "target").exists()


def test_a_disk_without_locks_is_an_error(tmp_path):
    class Lockless(Disk):
        def flock(self, fd, operation):
            raise OSError(37, "No locks available")

    with pytest.raises(StoreError, match="No locks"), lock(tmp_path / "l", disk=Lockless()):
        pass


def test_a_waiter_in_another_thread_goes_on_after_release(tmp_path):
    got = threading.Event()

    def work():
        with lock(tmp_path / "l", timeout=10):
            got.set()

    with lock(tmp_path / "l"):
        thread = threading.Thread(target=work)
        thread.start()
        assert not got.wait(0.05)
    assert got.wait(5)
    thread.join()


def test_a_forked_child_neither_holds_nor_releases_its_parents_lock(tmp_path):
    script = """
import os, sys, time
from pathlib import Path
from safetycatch.store import lock
path = Path(sys.argv[1]) / "l"
with lock(path):
    child = os.fork()
    if not child:
        time.sleep(60)
    other = os.fork()
if not other:
    os._exit(0 if path.exists() else 1)
assert os.waitpid(other, 0)[1] in (0, 256)
with lock(path, timeout=0):
    print("free")
os.kill(child, 9)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "free\n"
