"""`up`: a Prefect server with its UI and a worker on this machine, until a signal."""

from __future__ import annotations

import contextlib
import json as jsons
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import EXIT_OK, SafetycatchError, StoppedError, UsageError

if TYPE_CHECKING:
    from safetycatch.cli.children import Child
    from safetycatch.cli.local_server import LocalServer
    from safetycatch.cli.output import Output
    from safetycatch.project import Project

POOL = "safetycatch"
DEPLOYMENTS = Path("deployments") / "prefect.yaml"
DEPLOY_LIMIT_S = 180.0
WATCH_EVERY_S = 1.0
TAIL = 1500


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel="Servers")(up)


@dataclass(slots=True)
class _Services:
    server: LocalServer
    worker: Child | None = None

    def stop(self) -> None:
        if self.worker is not None:
            self.worker.stop()
        self.server.stop()

    def dead(self) -> str:
        """Return which one ended by itself, or nothing."""
        if not self.server.running:
            return f"the Prefect server ended by itself; its log: {self.server.log}"
        if self.worker is not None and not self.worker.running:
            return f"the worker ended by itself; its log: {self.worker.log}"
        return ""


def up(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="On 127.0.0.1.")] = 4200,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="The server and its UI only.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The addresses as one JSON document.")] = False,
) -> int:
    """Start a Prefect server with its UI and a worker; runs made meanwhile are shown there."""
    from safetycatch.cli.connection import running_url
    from safetycatch.cli.output import Output
    from safetycatch.project import find_project

    project, output = find_project(Path.cwd()), Output(json=json)
    root = project.store_root
    if there := running_url(root):
        raise UsageError(f"it is up already: {there.removesuffix('/api')}", where=str(root / "up.json"))
    _refuse_taken(port)
    asked = _Stop()
    services: _Services | None = None
    try:
        services = _start(project, port, output, worker=not no_worker)
        asked.wait(services)
    except (KeyboardInterrupt, StoppedError):
        pass
    finally:
        asked.ignore()
        (root / "up.json").unlink(missing_ok=True)
        if services is not None:
            output.line("stopping")
            services.stop()
    return EXIT_OK


class _Stop:
    """Waits for SIGINT or SIGTERM; while things are being stopped, further ones change nothing."""

    def wait(self, services: _Services) -> None:
        """Return on a signal (as KeyboardInterrupt or StoppedError).

        Raises: SafetycatchError when a service ends by itself.
        """
        never = threading.Event()
        while not never.wait(WATCH_EVERY_S):
            if reason := services.dead():
                raise SafetycatchError(reason)

    def ignore(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(
                f"port {port} is not free ({error.strerror})", where="safetycatch up", fix="safetycatch up --port 4201"
            ) from None


def _start(project: Project, port: int, output: Output, *, worker: bool) -> _Services:
    from safetycatch.cli.local_server import LocalServer

    root = project.store_root
    logs = root / "logs"
    services = _Services(LocalServer(logs / "up-server.log", port=port, full=True))
    try:
        output.field("server", f"starting on 127.0.0.1:{port}")
        services.server.wait()
        url = services.server.url
        _create_pool(url)
        deployed = _deploy(project, url, logs, output)
        if worker:
            services.worker = _worker(project, url, logs)
        _record(root, url)
    except BaseException:
        services.stop()
        raise
    ui = url.removesuffix("/api")
    output.field("ui", ui)
    output.field("worker", f"pool {POOL}" if worker else "none")
    output.field("runs", "safetycatch run FILE, in another terminal, is shown there; Ctrl-C here stops both")
    output.document({"ui": ui, "api_url": url, "pool": POOL, "worker": worker, "deployments": deployed})
    return services


def _environment(project: Project, url: str) -> dict[str, str]:
    """Return the environment of what talks to our server; flow files import their neighbours by name."""
    from safetycatch.cli.local_server import SETTINGS

    path = os.pathsep.join(part for part in (str(project.root), os.environ.get("PYTHONPATH", "")) if part)
    settings = {name: value for name, value in SETTINGS.items() if "LOGGING" not in name}
    return {
        **settings,
        **os.environ,
        "PREFECT_API_URL": url,
        "PYTHONPATH": path,
        "SAFETYCATCH_STORE": str(project.store_root),
    }


def _create_pool(url: str) -> None:
    """Create the work pool unless it is there; over plain HTTP, so that prefect needs no import here."""
    import urllib.error
    import urllib.request

    body = jsons.dumps({"name": POOL, "type": "process", "description": "made by safetycatch up"}).encode()
    request = urllib.request.Request(  # noqa: S310 - our own loopback address
        f"{url}/work_pools/", data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 409:  # it exists
            raise SafetycatchError(f"the Prefect server did not make the work pool: HTTP {error.code}") from None
    except OSError as error:
        raise SafetycatchError(f"the Prefect server did not make the work pool: {error}") from None


def _deploy(project: Project, url: str, logs: Path, output: Output) -> bool:
    """Register the project's deployments; a failure is told and leaves server and worker up."""
    if not (project.root / DEPLOYMENTS).is_file():
        output.field("deployed", f"nothing: there is no {DEPLOYMENTS} (safetycatch init --with-flows writes one)")
        return False
    log = logs / "up-deploy.log"
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", str(DEPLOYMENTS), "--all"]
    try:
        done = subprocess.run(  # noqa: S603 - fixed command
            command,
            cwd=project.root,
            env=_environment(project, url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEPLOY_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        output.field("deployed", f"nothing: it took longer than {DEPLOY_LIMIT_S:.0f} s")
        return False
    text = (done.stdout + done.stderr).decode(errors="replace")
    _write(log, text)
    if done.returncode:
        output.field("deployed", f"nothing: prefect deploy failed, its output is in {log}")
        return False
    output.field("deployed", str(DEPLOYMENTS))
    return True


def _worker(project: Project, url: str, logs: Path) -> Child:
    from safetycatch.cli.children import Child

    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    return Child(command, logs / "up-worker.log", _environment(project, url), project.root)


def _record(root: Path, url: str) -> None:
    """Tell later runs in this project where the server is."""
    told: dict[str, Any] = {"api_url": url, "pid": os.getpid(), "started_at": datetime.now(UTC).isoformat()}
    new = root / f".up.json.{os.getpid()}"
    _write(new, jsons.dumps(told) + "\n")
    new.replace(root / "up.json")


def _write(path: Path, text: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
