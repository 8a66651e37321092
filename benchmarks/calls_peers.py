"""Rows beside other harnesses: each in an environment of its own, the same job, the same server, the same session."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calls_jobs import write
from calls_limits import USERS, USERS_NAME, ideal_s
from calls_processes import HERE, Process, Server, start
from calls_rows import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from calls_processes import Ended
    from calls_rows import Options

CONCURRENCY = 64
INSTALL_S = 1800
LIMIT_S = 1800
WALL_BAR, CACHED_BAR = 0.5, 0.3
SCRIPTS = HERE / "peers"


@dataclass(frozen=True)
class Peer:
    """A harness: what to install, how to start its job, and how many answers it counts as right."""

    name: str
    packages: tuple[str, ...]
    command: Callable[[Path, str, Path, Path], list[str]]
    correct: Callable[[Ended, Path], int]
    node: bool = False

    def place(self, options: Options) -> Path:
        assert options.peers_in is not None
        return options.peers_in / self.name

    def install(self, options: Options) -> str:
        """Install it unless it is there; return its version."""
        place = self.place(options)
        if not (place / "installed").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            print(f"installing {self.name} into {place}", file=sys.stderr, flush=True)
            for command in self._installing(place):
                subprocess.run(command, cwd=place, check=True, timeout=INSTALL_S, stdout=sys.stderr)
            (place / "installed").touch()
        if self.node:
            return json.loads((place / "node_modules" / self.packages[0] / "package.json").read_text())["version"]
        ask = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
        command = [_python(place), "-c", ask, self.packages[0].partition("[")[0]]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def _installing(self, place: Path) -> list[list[str]]:
        if self.node:
            return [["npm", "install", "--silent", "--no-audit", "--no-fund", *self.packages]]
        if shutil.which("uv"):
            made = ["uv", "venv", "--quiet", "--python", sys.executable, "--clear", str(place)]
            return [made, ["uv", "pip", "install", "--quiet", "--python", _python(place), *self.packages]]
        made = [sys.executable, "-m", "venv", str(place)]
        return [made, [_python(place), "-m", "pip", "install", "--quiet", *self.packages]]

    def run(self, options: Options, url: str, job: Path, folder: Path) -> tuple[Ended, int]:
        """Do the job; return how the process went, and how many answers were right."""
        # Nothing of the user's settings, keys and caches; and nobody is called but the server.
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "OPENAI_API_KEY": "none",
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "PROMPTFOO_CONFIG_DIR": str(folder / "promptfoo"),
            "PROMPTFOO_DISABLE_TELEMETRY": "1",
            "PROMPTFOO_DISABLE_UPDATE": "1",
            "PROMPTFOO_DISABLE_REMOTE_GENERATION": "true",
            "PROMPTFOO_SELF_HOSTED": "1",
        }
        folder.mkdir(parents=True, exist_ok=True)
        ended = Process(self.command(self.place(options), url, job, folder), folder, environment).end(LIMIT_S)
        return ended, self.correct(ended, folder)


def _python(place: Path) -> str:
    return str(place / "bin" / "python")


def _last_line(ended: Ended, _: Path) -> int:
    try:
        return int(ended.found["correct"])
    except (ValueError, IndexError, KeyError, TypeError):
        return 0


def _inspect(place: Path, url: str, job: Path, folder: Path) -> list[str]:
    return [_python(place), str(SCRIPTS / "inspect_job.py"), url, str(job), str(folder), str(CONCURRENCY)]


def _dspy(place: Path, url: str, job: Path, folder: Path) -> list[str]:
    return [_python(place), str(SCRIPTS / "dspy_job.py"), url, str(job), str(folder), str(CONCURRENCY)]


def _promptfoo(place: Path, url: str, job: Path, folder: Path) -> list[str]:
    configured = ["node", str(SCRIPTS / "promptfoo_job.js"), url, str(job), str(folder)]
    subprocess.run(configured, check=True)
    program = (place / "node_modules" / ".bin" / "promptfoo").resolve()
    options = ["-c", f"{folder}/promptfooconfig.json", "-j", str(CONCURRENCY), "--no-progress-bar", "--no-table"]
    return ["node", str(program), "eval", *options, "-o", f"{folder}/out.json"]


def _promptfoo_correct(_: Ended, folder: Path) -> int:
    out = folder / "out.json"
    return json.loads(out.read_text())["results"]["stats"]["successes"] if out.exists() else 0


def _lm_eval(place: Path, url: str, job: Path, folder: Path) -> list[str]:
    tasks = folder / "tasks"
    tasks.mkdir(exist_ok=True)
    (tasks / "job.yaml").write_text((SCRIPTS / "lm_eval_job.yaml").read_text().replace("JOB", str(job)))
    model = f"model=echo,base_url={url}/chat/completions,num_concurrent={CONCURRENCY},max_retries=3"
    asked = ["--model", "local-chat-completions", "--model_args", f"{model},tokenized_requests=False,eos_string=none"]
    asked += ["--tasks", "benchmark_job", "--include_path", str(tasks), "--apply_chat_template", "--log_samples"]
    kept = ["--use_cache", f"{folder}/cache", "--output_path", f"{folder}/out"]
    return [str(place / "bin" / "lm_eval"), *asked, *kept]


def _lm_eval_correct(_: Ended, folder: Path) -> int:
    found = sorted((folder / "out").rglob("results*.json"))
    if not found:
        return 0
    result: dict[str, Any] = json.loads(found[-1].read_text())["results"]["benchmark_job"]
    return round(result["exact_match,none"] * result["sample_len"])


PEERS = {
    peer.name: peer
    for peer in (
        Peer("inspect", ("inspect_ai", "openai"), _inspect, _last_line),
        Peer("promptfoo", ("promptfoo",), _promptfoo, _promptfoo_correct, node=True),
        Peer("dspy", ("dspy",), _dspy, _last_line),
        Peer("lm-eval", ("lm-eval[api]",), _lm_eval, _lm_eval_correct),
    )
}


def peers(options: Options) -> Iterator[Figure]:
    """The plain job at 50 ms, twice: wall, CPU and memory of whole processes, start-up included."""
    n = options.n(2000)
    walls: dict[str, tuple[float, float]] = {}
    for name in options.peers:
        version = PEERS[name].install(options)
        job, folder = options.folder / f"{name}.jsonl", options.fresh()
        write(job, n, name)
        with Server(latency="50ms") as server:
            first, right = PEERS[name].run(options, server.url, job, folder)
            stats = server.stats()
            again, right_again = PEERS[name].run(options, server.url, job, folder)
            sent_again = server.stats()["received"] - stats["received"]
        walls[name] = first.wall_s, again.wall_s
        yield Figure(
            f"{name} {version}, {n:,} prompts, 50 ms, 64 at once, then again",
            _plain(n - right, stats, first)
            + f"; again {again.wall_s:.1f} s, {sent_again} requests, {n - right_again} lost",
            "",
            None,
        )
    with Server(latency="50ms") as server:
        folder = options.fresh()
        first = start(server, folder, n=n).end()
        stats = server.stats()
        again = start(server, folder, n=n).end()
        sent_again = server.stats()["received"] - stats["received"]
    figure = _plain(n - first.found["correct"], stats, first) + f"; again {again.wall_s:.2f} s, {sent_again} requests"
    if not walls:
        yield Figure(f"ours, {n:,} prompts, 50 ms, 64 at once, then again", figure, "(--peers tells the bar)", None)
        return
    fastest, cached = (min(wall[k] for wall in walls.values()) for k in (0, 1))
    ratio, ratio_again = first.wall_s / fastest, again.wall_s / cached
    ok = ratio <= WALL_BAR and ratio_again <= CACHED_BAR and sent_again == 0 and first.found["correct"] == n
    figure += f"; {ratio:.2f}x and {ratio_again:.2f}x the fastest of {', '.join(walls)}"
    bar = f"≤ {WALL_BAR}x; 0 requests and ≤ {CACHED_BAR}x"
    yield Figure(f"ours, {n:,} prompts, 50 ms, 64 at once, then again", figure, bar, ok)


def _plain(lost: int, stats: dict[str, Any], ended: Ended) -> str:
    return (
        f"{lost} lost, {stats['repeated']} paid twice, {ended.wall_s:.2f} s (window {stats['window_s']:.2f} s),"
        f" {ended.cpu_s:.1f} s CPU, {ended.peak_mb:.0f} MB"
    )


def users(options: Options) -> Iterator[Figure]:
    """As users run it, by the peers."""
    n = options.n(1000)
    ideal = ideal_s(n, "job", USERS)
    for name in options.peers:
        if name == "lm-eval":  # it aborts at the first row that its retries do not save
            continue
        version = PEERS[name].install(options)
        job = options.folder / f"{name}.jsonl"
        write(job, n, "job")
        with Server(**USERS) as server:
            ended, right = PEERS[name].run(options, server.url, job, options.fresh())
            stats = server.stats()
        refused = stats["by_status"].get("429", 0)
        time = f"{n - right} lost; {stats['window_s']:.1f} s = {stats['window_s'] / ideal:.3f}x the ideal"
        if ended.status == -signal.SIGKILL:
            time = f"not finished after {LIMIT_S:,} s, when {stats['answered']} answers had been sent"
        figure = f"{time}; {stats['repeated']} paid twice, {refused} of {stats['received']} refused by the limits"
        figure += f", exit {ended.status}" if ended.status else ""
        yield Figure(f"{name} {version}, {USERS_NAME.format(n)}", figure, "", None)
