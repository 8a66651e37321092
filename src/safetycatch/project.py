"""A project: the folder with a `safetycatch.yaml`, its endpoints, store, prices and catch levels."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from safetycatch.configuration import build, nearest, parse_mapping, read_text
from safetycatch.errors import ExperimentError, InputError
from safetycatch.experiment import CatchSettings, ModelName, PriceSettings  # noqa: TC001 - pydantic reads them
from safetycatch.identity import text_sha256

FILE_NAME = "safetycatch.yaml"
STORE_NAME = ".safetycatch"

# LiteLLM finds some providers by variables of its own. What they say decides who answers.
LITELLM_PLACES = re.compile(
    r"(?:API_BASE|_URL|ENDPOINT|_HOST|API_VERSION|API_TYPE|REGION|REGION_NAME|LOCATION|PROJECT|PROJECT_ID|ACCOUNT_ID)$"
)
LITELLM_PREFIXES = {
    "bedrock": ("AWS_", "BEDROCK_"),
    "sagemaker": ("AWS_", "SAGEMAKER_"),
    "vertex": ("VERTEX", "GOOGLE_CLOUD_"),
    "watsonx": ("WATSONX_", "WX_", "WML_"),
}
LITELLM_PROXY = ("USE_LITELLM_PROXY", "LITELLM_PROXY_API_BASE")
# Endpoints that need no entry: everything else without a project entry goes through LiteLLM.
BUILT_IN = {"openai": ("https://api.openai.com/v1", "OPENAI_API_KEY")}


class EndpointSettings(BaseModel):
    """An OpenAI-compatible server; plain http is for loopback unless `insecure: true` says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    url: Annotated[str, Field(min_length=8, max_length=2000)]
    insecure: bool = False

    @model_validator(mode="before")
    @classmethod
    def _bare_url(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value


class ProjectSettings(BaseModel):
    """What `safetycatch.yaml` (or `[tool.safetycatch]` in pyproject.toml) may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    store: str = STORE_NAME
    endpoints: dict[str, EndpointSettings] = {}
    prices: dict[str, PriceSettings] = {}
    catches: dict[str, CatchSettings] = {}


@dataclass(frozen=True, slots=True)
class Project:
    """Settings and the folder that paths may not leave; `declared` is False without a settings file."""

    root: Path
    settings: ProjectSettings
    declared: bool

    @property
    def store_root(self) -> Path:
        """The store's folder."""
        override = os.environ.get("SAFETYCATCH_STORE")
        return Path(override).absolute() if override else (self.root / self.settings.store).absolute()


def find_project(start: Path) -> Project:
    """Return the project that `start` (a file or folder) belongs to, else `start`'s own folder with defaults.

    The nearest parent with a `safetycatch.yaml` or a `[tool.safetycatch]` wins.
    Raises: ExperimentError when that file is wrong.
    """
    folder = start.absolute() if start.is_dir() else start.absolute().parent
    for root in (folder, *folder.parents):
        path = root / FILE_NAME
        if path.is_file():
            _own(path)
            text = read_text(path)
            values = parse_mapping(text, str(path)) if text.strip() else {}
            return Project(root, build(ProjectSettings, values, str(path)), declared=True)
        pyproject = root / "pyproject.toml"
        if pyproject.is_file() and (values := _tool_table(pyproject)) is not None:
            _own(pyproject)
            return Project(root, build(ProjectSettings, values, f"{pyproject}: tool.safetycatch"), declared=True)
    return Project(folder, ProjectSettings(), declared=False)


def _own(path: Path) -> None:
    """Refuse settings of another user: they could name an address that our keys are then sent to."""
    owner = path.stat().st_uid
    if owner not in {os.getuid(), 0}:
        raise ExperimentError(
            f"a project file of another user (uid {owner})", where=str(path), fix="copy the project, or move out of it"
        )


def _tool_table(path: Path) -> dict[str, Any] | None:
    text = read_text(path)
    if "[tool.safetycatch" not in text:
        return None
    try:
        found = tomllib.loads(text).get("tool", {}).get("safetycatch")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ExperimentError(f"not valid TOML: {error}", where=str(path)) from None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model answers: the transport, its base URL, and the environment variable that holds its key.

    `variant` tells apart what LiteLLM reads from the environment: variables with a digest of their values.
    """

    name: str
    transport: Literal["direct", "litellm"]
    base_url: str | None
    key_env: str | None
    model: str
    variant: str = ""


def address_of(model: ModelName, project: Project) -> Address:
    """Return where `model` answers; the base URL comes from the environment or the project, never from data.

    A provider of LiteLLM's may be moved by the environment only: its own key goes there with the call.
    `sandbox/…` has no URL here: the embedded server gets one when the run starts.
    Raises: InputError for an endpoint that nothing names, or an address that is not allowed.
    """
    if model.endpoint is None:
        provider, name = model.model.split("/", 1)
        if provider == "sandbox":
            return Address("sandbox", "direct", None, None, name)
        if provider not in BUILT_IN:
            own_key = variable("KEY", provider)
            return Address(
                provider,
                "litellm",
                _environment_url(provider, project),
                own_key if own_key in os.environ else None,
                model.model,
                _read_by_litellm(provider),
            )
        url, key = BUILT_IN[provider]
        own = _environment_url(provider, project)
        return Address(provider, "direct", own or url, key, name)
    name = model.endpoint
    key = variable("KEY", name)
    url = _environment_url(name, project)
    if url is None:
        known = project.settings.endpoints
        if name not in known:
            close, own = nearest(name, known), variable("ENDPOINT", name)
            raise InputError(
                f"no address for the endpoint {name!r}",
                expected=f"{own} in the environment, or 'endpoints: {{{name}: URL}}' in {FILE_NAME}",
                fix=f"did you mean {close!r}?" if close else f"export {own}=http://127.0.0.1:8000/v1",
            )
        url = checked_url(known[name].url, f"endpoints.{name}", insecure=known[name].insecure)
    return Address(name, "direct", url, key, model.model)


def _read_by_litellm(provider: str) -> str:
    """Return the variables that say where LiteLLM finds `provider`, each with a digest of its value."""
    root = provider.split("_", 1)[0]
    prefixes = LITELLM_PREFIXES.get(root, (f"{provider if len(root) < 4 else root}".upper(),))
    found = {
        name: value
        for name, value in os.environ.items()
        if value and (name in LITELLM_PROXY or (name.startswith(prefixes) and LITELLM_PLACES.search(name)))
    }
    return " ".join(f"{name}={text_sha256(value)[:12]}" for name, value in sorted(found.items()))


def key_variable(address: Address) -> str | None:
    """Return the variable to read the key from: none for an own server without a key."""
    hosted = address.name in BUILT_IN and address.base_url == BUILT_IN[address.name][0]
    return address.key_env if hosted or (address.key_env or "") in os.environ else None


def require_key(address: Address) -> None:
    """Refuse to start without a hosted provider's key, so that a run stops before its first call.

    Raises: InputError naming the variable.
    """
    wanted = key_variable(address)
    if wanted is not None and wanted not in os.environ:
        raise InputError(
            f"no key for {address.name}",
            expected=f"{address.key_env} in the environment",
            fix=f"export {address.key_env}=…",
        )


def variable(kind: str, name: str) -> str:
    """Return the environment variable of an endpoint: `SAFETYCATCH_<KIND>_<NAME>`."""
    return f"SAFETYCATCH_{kind}_{name.upper().replace('-', '_')}"


def _environment_url(name: str, project: Project) -> str | None:
    found, known = os.environ.get(variable("ENDPOINT", name)), project.settings.endpoints.get(name)
    insecure = known is not None and known.insecure
    return checked_url(found, variable("ENDPOINT", name), insecure=insecure) if found else None


def checked_url(url: str, where: str, *, insecure: bool = False) -> str:
    """Return a base URL without a trailing slash.

    Raises: InputError unless it is https, or http on loopback, without credentials, query or fragment.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise InputError(f"not a URL: {error}", where=where) from None
    # urlsplit drops tabs and line breaks, and an empty query, silently; what is sent to would still hold them.
    odd = re.search(r"[\s\x00-\x1f\x7f\\?#]", url)
    if parts.scheme not in {"http", "https"} or not host or odd:
        raise InputError(f"found {url[:120]!r}", where=where, expected="a base URL such as https://host/v1")
    if "@" in parts.netloc:
        raise InputError(
            "a URL with a user name or password",
            where=where,
            expected=f"the key in {variable('KEY', 'NAME')}",
        )
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        raise InputError(
            f"plain http to {host}",
            where=where,
            expected="https, or http on this machine",
            fix="in safetycatch.yaml: endpoints: {NAME: {url: …, insecure: true}}",
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
