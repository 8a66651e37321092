"""Imports the flows once, then forks a process for every run it is told of; orders and replies are JSON lines.

`{"start": experiment, "parameters", "environment", "out": folder}` → `{"pid"}`; `{"wait": pid}` → `{"code"}`.
A run's JSON, or its error, is written to `out/<pid>.json`.
"""

import importlib
import json
import os
import sys
from pathlib import Path

from flows.evaluate import evaluate
from safetycatch.errors import SafetycatchError
from tasks.session import WATCHER, Watcher

# What a run imports late is shared by all forks.
LATE = ("sklearn.feature_extraction.text",)


def main():
    for name in LATE:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _pid, status = os.waitpid(order["wait"], 0)
            reply = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if not pid:
                sys.exit(_run(order))
            reply = {"pid": pid}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def _run(order):
    os.environ.update(order["environment"])
    out = Path(order["out"])
    out.mkdir(exist_ok=True)
    log = os.open(out / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code, told = 0, {}
    WATCHER.set(Watcher(say=lambda stage, text: sys.stdout.write(f"{stage} {text}\n") and sys.stdout.flush()))
    try:
        told = evaluate(order["start"], **order["parameters"])
    except SafetycatchError as error:
        code, told = error.exit_code, {"error": type(error).__name__, "text": str(error)}
    (out / f"{os.getpid()}.json").write_text(json.dumps(told))
    return code


if __name__ == "__main__":
    main()
