"""What every transport does: send one request once, and say what came back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safetycatch.calls.request import Reply, Request


class Delivery(NamedTuple):
    """A reply, the bytes it came as (keys redacted), and the headers that tell the rate."""

    reply: Reply
    raw: bytes
    headers: Mapping[str, str]


class Transport(Protocol):
    """One way to one endpoint."""

    async def open(self) -> None:
        """Get ready; read the key. Raises: UsageError when the key is missing."""
        ...

    async def send(self, request: Request) -> Delivery:
        """Send `request` once.

        Raises: CallFaultError for whatever is no reply; FilteredPromptError when the prompt was filtered.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
