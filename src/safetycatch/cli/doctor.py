"""`doctor`: why does it not work here? One screen; keys are named, never shown."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from safetycatch.errors import EXIT_OK, EXIT_REFUSED, SafetycatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.experiment import Experiment
    from safetycatch.project import Project

State = Literal["ok", "note", "wrong"]

PACKAGES = ("safetycatch", "prefect", "fastapi", "litellm", "openai", "pandas", "pyarrow", "scipy", "scikit-learn")
COMPROMISED_LITELLM = frozenset({"1.82.7", "1.82.8"})
FIRST_BROKEN_FASTAPI = (0, 151)
PROVIDER_KEYS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "MISTRAL_API_KEY",
    "GROQ_API_KEY",
    "TOGETHERAI_API_KEY",
    "FIREWORKS_API_KEY",
)
ENDPOINT_VARIABLE = re.compile(r"SAFETYCATCH_ENDPOINT_([A-Z0-9_]+)")
KEY_VARIABLE = re.compile(r"SAFETYCATCH_KEY_[A-Z0-9_]+")
TIMEOUT_S = 3.0
# Of a path that a server does not have; some say that they do not take the method.
ABSENT = frozenset({404, 405})
SOON_DAYS, LATER_DAYS = 30, 180
MAX_EXPERIMENTS = 200


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, whether it is right, and what to do when it is not."""

    area: str
    state: State
    text: str
    fix: str = ""


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel="Look things up")(doctor)


def doctor(json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False) -> int:
    """Check this machine: versions, keys, endpoints, Prefect server, store, locks, shutdown dates, certificates."""
    from safetycatch.cli.output import Output

    output = Output(json=json)
    checks = list(_checks(datetime.now(UTC).date()))
    wrong = [check for check in checks if check.state == "wrong"]
    output.document({"ok": not wrong, "checks": [asdict(check) for check in checks]})
    if not json:
        colours = {"ok": "good", "note": "note", "wrong": "bad"}
        for check in checks:
            mark = output.painted(f"{check.state:<6}", colours[check.state])
            output.line(f"  {mark}{check.area:<11}{_safe(check.text)}")
            if check.fix and check.state != "ok":
                output.line(f"        {'':<11}fix: {_safe(check.fix)}")
        output.line(f"{len(wrong)} wrong" if wrong else "nothing wrong")
    return EXIT_REFUSED if wrong else EXIT_OK


def _safe(text: str) -> str:
    from safetycatch.cli.output import safe

    return safe(text)


def _checks(today: date) -> Iterator[Check]:
    from safetycatch.project import find_project

    yield from _versions()
    try:
        project = find_project(Path.cwd())
    except SafetycatchError as error:
        yield Check("project", "wrong", str(error).partition("\n")[0])
        return
    found = str(project.root) if project.declared else f"none here: {project.root} is taken as it is"
    yield Check("project", "ok", found)
    yield _store(project.store_root)
    yield _prefect(project.store_root)
    yield _flows(project)
    yield from _keys(project)
    yield from _endpoints(project)
    yield from _models(project, today)
    yield from _certificates(project)


def _versions() -> Iterator[Check]:
    from importlib import metadata

    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check("versions", "wrong", f"{name} is not installed", "pip install safetycatch")
    shown = ", ".join(f"{name} {version}" for name, version in found.items())
    yield Check("versions", "ok", f"python {platform.python_version()}, {shown}")
    fastapi = tuple(int(part) for part in re.findall(r"\d+", found.get("fastapi", "0"))[:2])
    if fastapi >= FIRST_BROKEN_FASTAPI:
        yield Check("versions", "wrong", f"fastapi {found['fastapi']} breaks Prefect", "pip install 'fastapi<0.151'")
    if found.get("litellm") in COMPROMISED_LITELLM:
        yield Check(
            "versions",
            "wrong",
            f"litellm {found['litellm']} is a compromised release",
            "pip install -U litellm; change all keys",
        )


def _store(root: Path) -> Check:
    if not root.exists():
        parent = next(folder for folder in root.parents if folder.exists())
        if os.access(parent, os.W_OK):
            return Check("store", "ok", f"{root} will be made by the first run")
        return Check("store", "wrong", f"{parent} is not writable", "export SAFETYCATCH_STORE=a folder of yours")
    from safetycatch.store import probe

    health = probe(root)
    if health.reason:
        return Check("store", "wrong", health.reason, "set 'store:' in safetycatch.yaml to a local folder with space")
    return Check("store", "ok", f"{root}: writable, {health.free_bytes / 1e9:.1f} GB free, locks hold")


def _prefect(store_root: Path) -> Check:
    from safetycatch.cli.connection import running_url
    from safetycatch.cli.local_server import answers

    named = os.environ.get("PREFECT_API_URL")
    if named:
        shown = re.sub(r"//[^/@]*@", "//…@", named)
        if answers(named):
            return Check("prefect", "ok", f"{shown} answers (PREFECT_API_URL)")
        return Check("prefect", "wrong", f"{shown} does not answer (PREFECT_API_URL)", "unset PREFECT_API_URL")
    found = running_url(store_root)
    if found:
        return Check("prefect", "ok", f"{found} answers (safetycatch up)")
    return Check("prefect", "ok", "each run starts a server of its own; a lasting one with UI: safetycatch up")


def _flows(project: Project) -> Check:
    from safetycatch.cli.pipeline import folders

    try:
        first, *_ = folders(project)
    except SafetycatchError as error:
        return Check("flows", "wrong", str(error))
    return Check("flows", "ok", f"{first / 'flows'}")


def _keys(project: Project) -> Iterator[Check]:
    from safetycatch.project import variable

    wanted = [variable("KEY", name) for name in project.settings.endpoints]
    names = sorted({*PROVIDER_KEYS, *wanted, *(name for name in os.environ if KEY_VARIABLE.fullmatch(name))})
    present = [name for name in names if os.environ.get(name)]
    absent = [name for name in wanted if not os.environ.get(name)]
    yield Check(
        "keys",
        "ok",
        f"set: {', '.join(present)}" if present else "none is set; the sandbox and local servers need none",
    )
    for name in absent:
        yield Check("keys", "note", f"{name} is not set", f"export {name}=…   (if that endpoint asks for a key)")


def _endpoints(project: Project) -> Iterator[Check]:
    from safetycatch.project import checked_url, variable

    urls = {name: settings.url for name, settings in project.settings.endpoints.items()}
    insecure = {name for name, settings in project.settings.endpoints.items() if settings.insecure}
    known = {variable("ENDPOINT", name): name for name in urls}
    for key in sorted(os.environ):
        if found := ENDPOINT_VARIABLE.fullmatch(key):
            name = known.get(key, found[1].lower())
            urls[name] = os.environ[key]
            insecure.discard(name)
    for name, url in sorted(urls.items()):
        try:
            address = checked_url(url, f"endpoints.{name}", insecure=name in insecure)
        except SafetycatchError as error:
            yield Check("endpoint", "wrong", str(error).partition("\n")[0])
            continue
        state, told, fix = _asked(address)
        yield Check("endpoint", state, f"{name} ({address}): {told}", fix)


def _asked(address: str) -> tuple[State, str, str]:
    """Ask an endpoint, without a key, for its models; where it has none, whether chats are answered below this path."""
    try:
        status, page = _status(f"{address}/models")
        if not page and status not in ABSENT:
            return "ok", f"answers ({status}{', it asks for a key' if status in {401, 403} else ''})", ""
        # A request without a model or a message: whoever understands the path refuses it, and bills nothing.
        chat, chat_page = _status(f"{address}/chat/completions", b"{}")
    except (OSError, ValueError) as error:
        return "wrong", f"no answer: {getattr(error, 'reason', error)}", "start the server, or correct its address"
    if not chat_page and chat not in ABSENT:
        return "ok", f"answers ({chat}; it has no list of models)", ""
    told = "a web page" if page else str(status)
    fix = "give the base URL, up to /v1" if not address.endswith("/v1") else "give the base URL as its docs have it"
    return "wrong", f"something answers, but not at this path: {told} for /models, {chat} for /chat/completions", fix


def _status(url: str, body: bytes | None = None) -> tuple[int, bool]:
    """Return the HTTP status of `url`, and whether it is a web page that came."""
    import urllib.error
    import urllib.request

    headers = {"User-Agent": "safetycatch-doctor", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - checked
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310 - checked to be http or https
            return int(reply.status), "html" in reply.headers.get("Content-Type", "")
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, False


def _experiments(project: Project) -> Iterator[tuple[Path, Experiment]]:
    """Yield the experiments that can be read where they usually lie, and their files."""
    from safetycatch.experiment import load_experiment

    folders = dict.fromkeys([project.root / "experiments", Path.cwd() / "experiments", Path.cwd(), project.root])
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.yaml"))]
    for path in files[:MAX_EXPERIMENTS]:
        if path.name == "safetycatch.yaml":
            continue
        with suppress(SafetycatchError):
            yield path, load_experiment(path, alone=True)


def _models(project: Project, today: date) -> Iterator[Check]:
    """Say which models of the project's experiments end soon."""
    from safetycatch.calls.prices import Prices

    used: dict[str, str] = {}
    for path, experiment in _experiments(project):
        used |= {one.model.full: path.name for one in experiment.candidates if one.model is not None}
    prices: Any = Prices()
    quiet: list[str] = []
    for model, where in sorted(used.items()):
        ends: date | None = prices.deprecation_date(model)
        if ends is None or (ends - today).days > LATER_DAYS:
            quiet.append(model)
            continue
        left = (ends - today).days
        when = f"ended on {ends}" if left < 0 else f"ends on {ends}, in {left} days"
        state: State = "wrong" if left <= SOON_DAYS else "note"
        yield Check("models", state, f"{model} {when} (used by {where})", "move to its successor and compare both")
    if quiet:
        yield Check("models", "ok", f"no shutdown within {LATER_DAYS} days is published for {', '.join(quiet)}")
    elif not used:
        yield Check("models", "ok", "no experiment here names one")


def _certificates(project: Project) -> Iterator[Check]:
    """Say what the newest certificate of each judge's experiment is worth, and what ends when."""
    if not project.store_root.is_dir():
        return
    from safetycatch.store import Store
    from safetycatch.store.certificates import Certificates

    try:
        every = Certificates(Store.open(project.store_root)).all()
    except SafetycatchError as error:
        yield Check("judges", "wrong", str(error).partition("\n")[0], "safetycatch verify")
        return
    newest = {one.experiment: one for one in reversed(every)}
    files = {experiment.name: path for path, experiment in reversed(list(_experiments(project)))} if newest else {}
    now = datetime.now(UTC)
    for name, one in sorted(newest.items()):
        again = _calibrate(name, files.get(name))
        told = f"{name}: {one.state} on {one.issued_at:%Y-%m-%d}"
        if one.drift.get("alarm"):
            yield Check("judges", "wrong", f"{told}; it drifted: {one.drift.get('detail', '')}", again)
        elif one.expired(now):
            yield Check("judges", "wrong", f"{told}; it ended on {one.valid_until:%Y-%m-%d}", again)
        elif one.state != "certified":
            yield Check("judges", "note", f"{told}: {one.reasons[0].text}", "; ".join(one.labels_needed) or again)
        elif one.valid_until is None:
            yield Check("judges", "ok", f"{told}; {one.validity}")
        else:
            left = (one.valid_until - now).days
            state: State = "note" if left <= SOON_DAYS else "ok"
            yield Check("judges", state, f"{told}; it ends on {one.valid_until:%Y-%m-%d}, in {left} days", again)


def _calibrate(name: str, file: Path | None) -> str:
    """Return what calibrates the judge of an experiment: a command where its file is known, else words."""
    import shlex

    if file is None:
        return f"calibrate again with the file of the experiment {name}, which does not lie here"
    return f"safetycatch calibrate {shlex.quote(os.path.relpath(file))}"
