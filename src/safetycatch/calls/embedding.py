"""Embeddings: calls like any other, one text each, whose reply's text is the vector as canonical JSON, kept exactly."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, cast

from safetycatch.calls.completion import parse, returned_by
from safetycatch.calls.request import Reply, Request
from safetycatch.errors import DataError, UsageError
from safetycatch.identity import canonical_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.calls.engine import Engine
    from safetycatch.calls.request import Endpoint

CANDIDATE = "embedding"


def embedding_request(
    endpoint: Endpoint, model: str, text: str | list[str], *, dimensions: int | None = None, example_id: str = ""
) -> Request:
    """Return the request for the vector of `text`, or for one vector of each text of a list.

    Raises: UsageError for an empty text, which providers refuse or answer with a vector of nothing.
    """
    texts = [text] if isinstance(text, str) else text
    if not texts or not all(texts):
        raise UsageError("an empty text", where=f"embedding of {example_id}", expected="texts that are not empty")
    body: dict[str, Any] = {"model": model, "input": text}
    if dimensions is not None:
        body["dimensions"] = dimensions
    if endpoint.transport == "direct" or model.startswith(("openai/", "azure/")):
        # OpenAI's client asks for base64 unless told; other providers know numbers only, and LiteLLM refuses the word.
        body["encoding_format"] = "float"
    return Request(endpoint, body, CANDIDATE, example_id)


async def embed(
    engine: Engine, endpoint: Endpoint, model: str, texts: Sequence[str], *, dimensions: int | None = None
) -> list[list[float]]:
    """Return one vector a text, in order, through the engine's journal and budget; equal texts are asked for once.

    Raises: DataError when a text got no vector or vectors differ in length, and what `Engine.answer` raises.
    """
    found: dict[int, Reply] = {}

    def keep(request: Request, reply: Reply) -> None:
        found[int(request.example_id)] = reply

    requests = (
        embedding_request(endpoint, model, text, dimensions=dimensions, example_id=str(number))
        for number, text in enumerate(texts)
    )
    await engine.answer(requests, keep)
    vectors: list[list[float]] = []
    for number in range(len(texts)):
        reply = found[number]
        if reply.state != "answer":
            raise DataError(
                f"no vector: {reply.error_class}: {reply.error_text}", where=f"text {number}", expected="one vector"
            )
        vectors += vectors_of(reply)
        if len(vectors[-1]) != len(vectors[0]):
            # Within a run the transport sees it; this one is between a run and what the journal holds.
            raise DataError(
                f"{len(vectors[-1])} numbers",
                where=f"the vector of text {number}",
                expected=f"{len(vectors[0])}, as the first one has: the provider changed the model",
            )
    return vectors


def vectors_of(reply: Reply) -> list[list[float]]:
    """Return the vectors in an answer's text: one a text that was sent."""
    return cast("list[list[float]]", json.loads(reply.text or "[]"))


class EmbeddingReader:
    """Reads embeddings; remembers how long each model's vectors are, for a change means another model."""

    def __init__(self) -> None:
        self._lengths: dict[tuple[str, Any], int] = {}

    def read(self, raw: bytes, request: Request) -> Reply:
        """Return the reply in `raw` (UTF-8 JSON of an embedding list), without cost and latency.

        Raises: CallFaultError for bytes that are no JSON object, and for an error dressed as a success.
        """
        data = parse(raw)
        returned, other = returned_by(data, request)
        vectors, wrong, told = self._vectors(data, request)
        if other is not None:
            wrong, told = "other_model", other
        usage = data.get("usage")
        stated = cast("dict[str, Any]", usage).get("prompt_tokens") if isinstance(usage, dict) else None
        known = type(stated) is int and stated > 0
        return Reply(
            state="answer" if wrong is None else "invalid",
            text=canonical_json(vectors).decode() if wrong is None else None,
            model_returned=returned,
            n_tokens_in=stated if known else None,
            n_tokens_out=0 if known else None,
            error_class=wrong,
            error_text=told,
        )

    def _vectors(self, data: dict[str, Any], request: Request) -> tuple[list[list[float]], str | None, str | None]:
        """Return the vectors in the order of the texts, or the class of what is wrong with them and words for it."""
        sent: Any = request.body["input"]
        n_sent = 1 if isinstance(sent, str) else len(sent)
        listed = data.get("data")
        listed = cast("list[Any]", listed) if isinstance(listed, list) else []
        items = [cast("dict[str, Any]", item) for item in listed if isinstance(item, dict)]
        if len(items) != n_sent:
            return [], "wrong_number", f"{n_sent} texts were sent, {len(items)} vectors came back"
        order = [item.get("index", number) for number, item in enumerate(items)]
        if sorted(order, key=str) != sorted(range(n_sent), key=str):
            return [], "wrong_number", f"vectors of the texts {order!r:.80}, of {n_sent}"
        vectors: list[list[float]] = [[] for _ in items]
        for number, item in zip(order, items, strict=True):
            vector = item.get("embedding")
            if not isinstance(vector, list) or not vector or not all(_is_finite(one) for one in vector):
                return [], "no_vector", f"the vector of text {number} is no list of finite numbers"
            vectors[number] = vector
        asked = request.body.get("dimensions")
        length = self._lengths.setdefault((request.model, asked), asked or len(vectors[0]))
        odd = next((len(vector) for vector in vectors if len(vector) != length), None)
        return (vectors, None, None) if odd is None else ([], "other_dimension", f"{odd} numbers, not {length}")


def _is_finite(value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value)
