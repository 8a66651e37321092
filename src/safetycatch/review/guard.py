"""Who may talk to the page: browsers that were opened with this start's link, from this machine, on our own origin.

Every request names a host of ours (else another name could be pointed at this machine), carries the cookie that the
link was exchanged for, and, where it changes something, our own origin and the token that only our pages hold.
Every answer forbids scripts, styles, frames and connections that are not ours, and is kept in no cache.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
CSRF_HEADER = b"x-safetycatch-csrf"
MAX_BODY_BYTES = 1 << 16
TOO_LARGE = f"more than {MAX_BODY_BYTES:,} bytes"
SAFE_METHODS = frozenset({"GET", "HEAD"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
)


def _secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets of one start: `token` in the link, `session` in the cookie, `csrf` in our pages."""

    port: int
    token: str = field(default_factory=_secret, repr=False)
    session: str = field(default_factory=_secret, repr=False)
    csrf: str = field(default_factory=_secret, repr=False)

    @property
    def cookie(self) -> str:
        """The cookie's name; cookies are the same for all ports of a host."""
        return f"safetycatch-{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """The values of the header Host that mean us."""
        return frozenset(f"{name}:{self.port}" for name in NAMES)

    def url(self, path: str = "/") -> str:
        """Return the link that opens the page."""
        return f"http://{HOST}:{self.port}{path}?token={self.token}"


class Guard:
    """Lets requests to the `app` through that may talk to it, and seals every answer."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _ in HEADERS}
                kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in ours]
                message = {**message, "headers": [*kept, *HEADERS]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(sealed, *refusal)
            return
        from starlette.exceptions import HTTPException

        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MAX_BODY_BYTES:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self.app(scope, limited, sealed)

    def _refusal(self, scope: Scope) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        """Return what to answer instead: status, words, headers; None where the request may pass."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        if len([name for name, _ in scope["headers"] if name.lower() == b"host"]) != 1:
            return 400, "one Host is expected", []
        host = headers[b"host"].decode("latin-1")
        if host not in self.keys.hosts:
            return 421, "this page is served as 127.0.0.1 and localhost only", []
        safe = scope["method"] in SAFE_METHODS
        if not safe and scope["method"] != "POST":
            return 405, "GET and POST only", [(b"allow", b"GET, HEAD, POST")]
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if safe and given and _same(given[0], self.keys.token):
            cookie = f"{self.keys.cookie}={self.keys.session}; Path=/; HttpOnly; SameSite=Strict"
            return 303, "", [(b"location", _here(scope["path"]).encode()), (b"set-cookie", cookie.encode())]
        if not _same(_cookie(headers, self.keys.cookie), self.keys.session):
            return 403, "open the link that `safetycatch review` printed: it is another one at every start", []
        if safe:
            return None
        if headers.get(b"origin", b"").decode("latin-1") != f"http://{host}":
            return 403, "a request of another page", []
        if not _same(headers.get(CSRF_HEADER, b"").decode("latin-1"), self.keys.csrf):
            return 403, "without this page's token: load the page again", []
        if headers.get(b"content-type", b"").partition(b";")[0].strip() != b"application/json":
            return 415, "JSON is expected", []
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            return 413, TOO_LARGE, []
        return None


def _here(path: str) -> str:
    """Return a path of ours: one that begins with two slashes would name another host."""
    return "/" + path.lstrip("/\\")


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _cookie(headers: dict[bytes, bytes], name: str) -> str:
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


async def _answer(send: Send, status: int, words: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    body = words.encode()
    start = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*start, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})
