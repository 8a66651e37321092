"""A server that does nothing but answer after a while: for clients that are faster than the sandbox.

It prints its base URL and counts what it was asked (`GET /stats`); no limits, no faults.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Answering(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    received = answered = in_flight = most = 0
    first = last = 0.0
    latency_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, rest = self.data.partition(b"\r\n\r\n")
        if not end:
            return
        found = LENGTH.search(head)
        length = int(found[1]) if found else 0
        if len(rest) < length:
            return
        self.data = rest[length:]
        if head.startswith(b"GET"):
            self.write(json.dumps(self.stats()).encode())
            return
        cls = Answering
        cls.received += 1
        cls.in_flight += 1
        cls.most = max(cls.most, cls.in_flight)
        cls.first = cls.first or time.monotonic()
        asyncio.get_running_loop().call_later(self.latency_s, self.answer, json.loads(rest[:length]))

    def answer(self, asked: dict) -> None:
        content = asked["messages"][-1]["content"][:64]
        message = {"role": "assistant", "content": content, "refusal": None}
        reply = {
            "id": f"chatcmpl-{Answering.received}",
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 80, "completion_tokens": 16, "total_tokens": 96},
        }
        Answering.in_flight -= 1
        Answering.answered += 1
        Answering.last = time.monotonic()
        self.write(json.dumps(reply).encode())

    def write(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    @classmethod
    def stats(cls) -> dict[str, float]:
        return {
            "received": cls.received,
            "answered": cls.answered,
            "billed": cls.received,
            "most_in_flight": cls.most,
            "window_s": cls.last - cls.first,
        }


def main() -> None:
    asyncio.run(serve(float(sys.argv[1])))


async def serve(latency_s: float) -> None:
    Answering.latency_s = latency_s
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()
