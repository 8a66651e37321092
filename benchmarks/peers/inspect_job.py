"""The benchmark's job by inspect_ai, by its own interpreter: a dataset, generate() with its cache, exact match."""

import json
import os
import sys

url, job, folder, concurrency = sys.argv[1:]
os.environ.update(INSPECT_CACHE_DIR=f"{folder}/cache", OPENAI_API_KEY="none", XDG_DATA_HOME=folder, HOME=folder)

from inspect_ai import Task, eval  # noqa: A004, E402 - the environment is read at the import
from inspect_ai.dataset import Sample  # noqa: E402
from inspect_ai.model import GenerateConfig, get_model  # noqa: E402
from inspect_ai.scorer import exact  # noqa: E402
from inspect_ai.solver import generate  # noqa: E402

samples = [
    Sample(id=row["id"], input=row["prompt"], target=row["target"])
    for row in map(json.loads, open(job))  # noqa: SIM115, PTH123
]
config = GenerateConfig(max_connections=int(concurrency), temperature=0, max_tokens=20)
model = get_model("openai/echo", base_url=url, config=config, responses_api=False)
(log,) = eval(
    Task(dataset=samples, solver=generate(cache=True), scorer=exact()),
    model=model,
    log_dir=f"{folder}/logs",
    display="none",
    log_level="error",
    fail_on_error=False,
    max_samples=int(concurrency),
)
right = sum(
    next(iter(sample.scores.values())).value == "C"
    for sample in log.samples or []
    if sample.scores and not sample.error
)
print(json.dumps({"correct": right}))
