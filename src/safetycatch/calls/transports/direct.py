"""Direct HTTP to any OpenAI-compatible endpoint: one session, a cap on every reply, no redirects, no proxies."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from safetycatch.calls import completion
from safetycatch.calls.embedding import EmbeddingReader
from safetycatch.calls.faults import MAX_TEXT, CallFaultError, Fault, of_status
from safetycatch.calls.limits import retry_after_s
from safetycatch.calls.transports.delivery import Delivery
from safetycatch.calls.transports.redaction import Redactor, read_key, url_password
from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from safetycatch.calls.request import Endpoint, Request

MAX_ERROR_BYTES = 65_536
PATHS = {"chat": "/chat/completions", "embedding": "/embeddings"}


class Direct:
    """One endpoint over HTTP; `connect_s` bounds the connecting, the engine bounds the whole attempt."""

    def __init__(self, endpoint: Endpoint, *, connect_s: float, max_reply_bytes: int) -> None:
        self.endpoint = endpoint
        self._connect_s, self._max_bytes = connect_s, max_reply_bytes
        parts = urlsplit(endpoint.base_url or "")
        self._urls = {
            kind: urlunsplit(parts._replace(path=parts.path.rstrip("/") + path, fragment=""))
            for kind, path in PATHS.items()
        }
        self._embeddings = EmbeddingReader()
        self._redactor = Redactor([])
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Read the key and open the session. Raises: UsageError when the key is missing."""
        key = read_key(self.endpoint.key_env)
        passwords = url_password(self.endpoint.base_url)
        if key and passwords:
            raise UsageError(f"endpoint {self.endpoint.name!r} has a key and a password in its URL", expected="one")
        self._redactor = Redactor([*([key] if key else []), *passwords])
        # Answers are short and we bound what is unpacked, so none is asked for compressed.
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s),
            headers=headers,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the session and wait until its connections are gone."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: Request) -> Delivery:
        """Send `request` once.

        Raises: CallFaultError for whatever is no reply; FilteredPromptError when the prompt was filtered.
        """
        if self._session is None:
            raise RuntimeError("the transport is not open")
        if request.body.get("stream"):
            raise UsageError("`stream` is set", where=request.candidate, expected="replies in one piece")
        kind = request.kind
        try:
            async with self._session.post(self._urls[kind], data=request.canonical, allow_redirects=False) as response:
                if response.status != 200:
                    raise await self._error(response)
                told = response.content_type
                if "Content-Type" in response.headers and "json" not in told:
                    raise CallFaultError(Fault("retry", "wrong_content_type", told[:MAX_TEXT], "perhaps"))
                raw = self._redactor.reply(await self._body(response, self._max_bytes))
                headers = response.headers
        except aiohttp.ClientError as error:
            raise CallFaultError(self._broken(error)) from None
        try:
            read = self._embeddings.read if kind == "embedding" else completion.read
            return Delivery(read(raw, request), raw, headers)
        except CallFaultError as error:
            fault = error.fault
            text = self._redactor.text(fault.text)
            raise CallFaultError(
                Fault(fault.kind, fault.error_class, text, fault.charge, fault.retry_after_s), headers
            ) from None

    def _broken(self, error: aiohttp.ClientError) -> Fault:
        text = self._redactor.text(f"{type(error).__name__}: {error}")[:MAX_TEXT]
        if isinstance(error, aiohttp.InvalidURL):
            return Fault("lane", "bad_url", "the endpoint's base URL cannot be used")
        if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
            return Fault("retry", "connect", text, "none")
        if isinstance(error, aiohttp.ClientPayloadError):
            return Fault("retry", "truncated", text, "perhaps")
        if isinstance(error, aiohttp.ClientResponseError):
            return Fault("retry", "bad_http", text, "perhaps")
        return Fault("retry", "dropped", text, "perhaps")

    async def _body(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        """Read at most `limit` bytes, packed or unpacked. Raises: CallFaultError beyond that."""
        too_large = CallFaultError(Fault("row", "too_large", f"a reply of more than {limit} bytes", "perhaps"))
        if (response.content_length or 0) > limit:
            response.close()
            raise too_large
        parts: list[bytes] = []
        size = 0
        while part := await response.content.readany():
            size += len(part)
            if size > limit:
                response.close()
                raise too_large
            parts.append(part)
        raw = parts[0] if len(parts) == 1 else b"".join(parts)
        packing = response.headers.get("Content-Encoding", "").strip().lower()
        if packing in {"", "identity"} or not raw:
            return raw
        if packing not in {"gzip", "x-gzip", "deflate"}:
            raise CallFaultError(Fault("retry", "wrong_encoding", packing[:MAX_TEXT], "perhaps"))
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        try:
            raw = unpacker.decompress(raw, limit + 1)
        except zlib.error as error:
            raise CallFaultError(Fault("retry", "wrong_encoding", str(error), "perhaps")) from None
        if len(raw) > limit:
            raise too_large
        if not unpacker.eof:
            raise CallFaultError(Fault("retry", "truncated", "the packed reply ends early", "perhaps"))
        return raw

    async def _error(self, response: aiohttp.ClientResponse) -> CallFaultError:
        """Return the fault that a reply with an error status means."""
        text = ""
        try:
            async with asyncio.timeout(self._connect_s):
                raw = await self._body(response, MAX_ERROR_BYTES)
            text = raw.decode(errors="replace")
            data: Any = json.loads(text)
            if isinstance(data, dict):
                found: Any = cast("dict[str, Any]", data).get("error", data)
                text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        except (aiohttp.ClientError, CallFaultError, TimeoutError, ValueError, RecursionError):
            # The status says enough; the text is for people.
            response.close()
        if 300 <= response.status < 400:
            text = "redirects are not followed: the key would go elsewhere"
        text = completion.clean(self._redactor.text(text)) or f"HTTP {response.status}"
        fault = of_status(response.status, text, retry_after_s(response.headers))
        return CallFaultError(fault, response.headers)
