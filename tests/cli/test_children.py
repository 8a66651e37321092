import os
import subprocess
import sys
from pathlib import Path

import pytest

from safetycatch.cli.children import Child, descendants

# A program that starts another one in a session of its own, as Prefect's worker does with flow runs.
PROGRAM = """
import subprocess, sys, time
inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)
open(sys.argv[1], 'w').write(str(inner.pid))
time.sleep(600)
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def note(tmp_path) -> Path:
    return tmp_path / "pid"


def test_stop_ends_the_program_and_what_it_started(note, tmp_path, wait_for):
    child = Child([sys.executable, "-c", PROGRAM, str(note)], tmp_path / "log", os.environ, tmp_path)
    wait_for(lambda: note.is_file() and note.read_text())
    assert child.running
    assert int(note.read_text()) in descendants(os.getpid())
    child.stop()
    assert not child.running
    assert not _alive(int(note.read_text()))


def test_everything_ends_when_the_parent_is_killed(note, tmp_path, wait_for):
    parent = (
        "import os, sys, time\nfrom pathlib import Path\nfrom safetycatch.cli.children import Child\n"
        f"Child([sys.executable, '-c', {PROGRAM!r}, {str(note)!r}], Path('log'), os.environ, Path())\ntime.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path)
    wait_for(lambda: note.is_file() and note.read_text())
    below = descendants(process.pid)
    assert len(below) == 3
    process.kill()
    process.wait()
    wait_for(lambda: not any(_alive(pid) for pid in below), 30)


def test_a_program_that_ends_is_seen(tmp_path, wait_for):
    child = Child([sys.executable, "-c", "print('done')"], tmp_path / "log", os.environ, tmp_path)
    wait_for(lambda: not child.running, 20)
    assert child.log.read_text() == "done\n"
    child.stop()
