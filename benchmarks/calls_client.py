"""The measured script: engine, journal, scoring and Parquet rows, without Prefect; or a bare aiohttp loop.

Started by `calls.py` with one JSON object; prints `half` when half of the replies were delivered, and a JSON line of
what it measured at the end. CPU is counted from after the imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# As the flows do: pyarrow's own allocator keeps what it once held.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

import aiohttp
import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq
from calls_jobs import MAX_TOKENS, prompts

import safetycatch.calls.transports.direct  # noqa: F401 - imported by the engine when it first needs it
from safetycatch.calls import Budget, Endpoint, Engine, EngineSettings, Journal, Prices, Request, install
from safetycatch.errors import SafetycatchError
from safetycatch.scoring import scorer
from safetycatch.tables import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.calls import Reply

BATCH_ROWS = 512
RUN = "bench"


def memory(field: str) -> float:
    """Return a field of this process's memory, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(field)


class Table:
    """Writes rows to a Parquet file batch by batch; whole and on disk, or not there.

    Rows become Arrow by way of JSON lines: `pyarrow.array` imports pandas, 50 MB that nothing here needs.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self.schema = folder / f"{name}.parquet", schema(name)
        self.part = self.path.with_suffix(".part")
        self.lines: list[str] = []
        self.parsing = pa_json.ParseOptions(explicit_schema=self.schema, unexpected_field_behavior="error")
        self.writer = pq.ParquetWriter(self.part, self.schema, compression="zstd", write_page_checksum=True)

    def add(self, row: dict[str, Any]) -> None:
        self.lines.append(json.dumps(row))
        if len(self.lines) == BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        if self.lines:
            data = pa.BufferReader("\n".join(self.lines).encode())
            table = pa_json.read_json(data, pa_json.ReadOptions(use_threads=False), self.parsing)
            self.writer.write_table(pa.Table.from_arrays(table.columns, schema=self.schema))
            self.lines.clear()

    def close(self) -> None:
        self.flush()
        self.writer.close()
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        self.part.rename(self.path)


def body(prompt: str, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
    }


async def bare(job: dict[str, Any]) -> dict[str, Any]:
    """Ask everything in a bare loop: no journal, no limits, no retries, no rows."""
    work = iter(list(prompts(job["n"], job["salt"])))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> None:
            for _, prompt, _ in work:
                data = json.dumps(body(prompt, job["model"])).encode()
                async with session.post(f"{job['url']}/chat/completions", data=data) as response:
                    assert json.loads(await response.read())["choices"]

        await asyncio.gather(*(ask() for _ in range(job["concurrency"])))
    return {}


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Answer the job within its budget; resume what the journal of the folder knows."""
    folder, n, model = Path(job["folder"]), job["n"], job["model"]
    endpoint = Endpoint("sandbox", "direct", job["url"])
    metric, targets = scorer("exact"), dict[str, str]()
    found = dict.fromkeys(("delivered", "correct", "lost"), 0)
    rss: dict[str, float] = {}

    def requests() -> Iterator[Request]:
        for name, prompt, target in prompts(n, job["salt"]):
            targets[name] = target
            yield Request(endpoint, body(prompt, model), "zero", name, 0, MAX_TOKENS)

    folder.mkdir(parents=True, exist_ok=True)
    rows, scores = Table(folder, "rows"), Table(folder, "scores")

    def on_reply(request: Request, reply: Reply) -> None:
        target, text = targets.pop(request.example_id), reply.text
        parsed = metric.parse(text) if text is not None and reply.state == "answer" else None
        row = {
            "run_id": RUN,
            "candidate": request.candidate,
            "example_id": request.example_id,
            "replicate": request.replicate,
            "status": reply.state,
            "output": text,
            "parsed": parsed,
            "model_requested": request.model,
            "model_returned": reply.model_returned,
            "n_tokens_in": reply.n_tokens_in,
            "n_tokens_cached": reply.n_tokens_cached,
            "n_tokens_out": reply.n_tokens_out,
            "cost_usd": reply.cost_usd,
            "latency_s": reply.latency_s,
            "call_key": request.key,
            "error_class": reply.error_class,
        }
        rows.add(row)
        missing = reply.state in {"error", "invalid"}
        value = None if missing else metric.score(parsed, target, row)
        same = {name: row[name] for name in ("run_id", "candidate", "example_id", "replicate")}
        scores.add(same | {"metric": metric.name, "value": value})
        found["delivered"] += 1
        found["correct"] += value == 1
        found["lost"] += missing
        if found["delivered"] == n // 2:
            print("half", flush=True)
        if found["delivered"] in job.get("look_at", ()):
            rss[str(found["delivered"])] = memory("VmRSS")

    settings = EngineSettings(concurrency=job["concurrency"], **job.get("settings", {}))
    error = ""
    with install() as stop, Journal.open(folder / "calls.db") as journal:
        budget = Budget(job.get("usd"), None, None if "usd" in job else 10**9, already=journal.spent(RUN))
        rng = random.Random(job.get("seed", 0))  # noqa: S311 - jitter
        engine = Engine(journal, Prices(), budget, settings, run_id=RUN, stop=stop, rng=rng)
        try:
            asyncio.run(engine.answer(requests(), on_reply))
        except SafetycatchError as raised:
            error, found["exit_code"] = str(raised), raised.exit_code
        counts = engine.counts
    rows.close()
    scores.close()
    return found | {
        "sent": counts.sent,
        "from_journal": counts.from_journal,
        "retried": counts.retried,
        "perhaps_paid": counts.perhaps_paid,
        "by_error_class": dict(counts.by_error_class),
        "spent_usd": counts.spent_usd,
        "error": error,
        "rss_mb": rss,
    }


def main() -> None:
    job = json.loads(sys.argv[1])
    cpu_s, began = time.process_time(), time.perf_counter()
    found = asyncio.run(bare(job)) if job["client"] == "bare" else answer(job)
    found |= {
        "cpu_s": time.process_time() - cpu_s,
        "wall_s": time.perf_counter() - began,
        "peak_mb": memory("VmHWM"),
        "litellm": "litellm" in sys.modules,
    }
    print(json.dumps(found), flush=True)
    sys.exit(found.get("exit_code", 0))
