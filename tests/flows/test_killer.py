"""The killer: real runs, Prefect included, are stopped at random moments, and nothing of it shows in the end."""

import json
import random
import signal
import time

import pytest

pytestmark = pytest.mark.flow

KILLS, SEED, IN_FLIGHT = 50, 11, 4
SIGNALS, WEIGHTS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT), (8, 1, 1)
N_ROWS = 120
EXPERIMENT = f"""\
candidates:
  - {{id: zero}}
  - {{id: own, call: "own_router:route", max_cost_usd: 0}}
  - {{id: knn4, shots: {{select: knn, k: 4}}}}
claim: {{metric: accuracy, smallest_effect: 8 points}}
runs: {{concurrency: {IN_FLIGHT}, ladder: [20, all]}}
budget: {{calls: 2000}}
"""
OWN = "def route(row):\n    return 'refund' if 'money' in row['input'] else 'delivery'\n"
MODEL = "{endpoint: box, model: in-context}"
POLL_S = 0.002
# Killed, stopped before or after it handles signals itself, or drained.
STOPPED = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT}


class Killer:
    """Starts runs of one experiment and stops them after a random time; `hits` holds how many answers there were."""

    def __init__(self, project, processes, path, limit_s):
        self._project, self._processes, self._path, self._limit_s = project, processes, path, limit_s
        self._draw = random.Random(SEED)
        self.hits = []

    def until_done(self):
        """Run again and again, until a run comes to its end; return its result. After enough stops, none is made."""
        while len(self.hits) < KILLS:
            pid = self._processes.start(self._project, self._path)
            self._wait(pid, self._draw.uniform(0, self._limit_s))
            n_answers = self._project.n_answers()
            code = self._processes.kill(pid, self._draw.choices(SIGNALS, WEIGHTS)[0])
            if code:
                assert code in STOPPED, self._told(pid, "log")
                self.hits.append(n_answers)
            # It may have been stopped when all was done.
            for run in self._project.runs():
                if run.status == "done":
                    return run.summary["result"]
        pid = self._processes.start(self._project, self._path)
        assert self._processes.wait(pid) == 0, self._told(pid, "log")
        return json.loads(self._told(pid, "json"))

    def _told(self, pid, kind):
        return (self._project.folder / "out" / f"{pid}.{kind}").read_text()

    def _wait(self, pid, seconds):
        end, ended = time.monotonic() + seconds, self._project.folder / "out" / f"{pid}.json"
        while time.monotonic() < end and not ended.exists():
            time.sleep(POLL_S)


def test_r01_fifty_kills_at_random_moments_change_no_table_and_pay_no_answer_twice(
    project, processes, endpoint, tickets
):
    """Stopped 50 times in all: every run that comes to its end in between has an undisturbed run's tables."""
    project.write_rows(tickets(N_ROWS))
    (project.folder / "own_router.py").write_text(OWN)
    folder = project.store.parent
    with endpoint(latency="5ms") as box:
        path = project.write(EXPERIMENT, model=MODEL)
        assert processes.wait(processes.start(project, path)) == 0
        whole = project.run(path).result()
        prepared, tables = project.prepared(), project.tables(whole)
        n_calls = project.n_answers()
        n_box = box.stats()["billed"]
        assert 0 < n_box < n_calls
        # As long as a run takes that finds all answers: stops come at every point of it, and some come too late.
        began = time.monotonic()
        assert processes.wait(processes.start(project, path)) == 0
        killer = Killer(project, processes, path, time.monotonic() - began)
        stops = []
        while len(killer.hits) < KILLS:
            project.store = folder / f"stopped-{len(stops)}"
            n_before, billed_before = len(killer.hits), box.stats()["billed"]
            result = killer.until_done()
            stops.append(len(killer.hits) - n_before)
            billed = box.stats()["billed"] - billed_before
            assert project.prepared() == prepared
            assert project.tables(result) == tables
            assert project.answered_twice() == []
            assert project.n_answers() == n_calls
            assert billed - n_box <= project.n_open() <= stops[-1] * IN_FLIGHT
            assert result["calls"]["perhaps_paid"] == project.n_open()
            assert [run.status for run in project.runs()] == ["done"]
    # Stopped before the first answer, among the answers, and after the last one.
    assert {0, n_calls} < set(killer.hits)
