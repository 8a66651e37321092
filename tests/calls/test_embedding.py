"""Embeddings through the same engine, journal and budget, on both routes."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.calls import Budget, Endpoint, Engine, EngineSettings, Journal, Prices, Request, embed
from safetycatch.calls.embedding import EmbeddingReader, embedding_request, vectors_of
from safetycatch.errors import BudgetReachedError, DataError, UsageError
from safetycatch.identity import canonical_json

ONE = EngineSettings(concurrency=4, attempts=2, backoff_s=0.01, max_error_rate=None)
PRICES = Prices({"*/embedding-priced": {"input_per_m": 1, "output_per_m": 0}})
TEXTS = ["the chain is broken", "where is my parcel", "refund, please", "the chain is broken"]


@pytest.fixture
def go(journal_path):
    """Embed texts with a fresh engine on this test's journal; returns the vectors and the engine."""

    def run(endpoint, texts=TEXTS, model="embedding", budget=None, **more):
        with Journal.open(journal_path) as journal:
            engine = Engine(journal, PRICES, budget or Budget(), ONE, run_id="run", rng=random.Random(0))
            try:
                return asyncio.run(embed(engine, endpoint, model, texts, **more)), engine.counts
            except Exception as error:  # noqa: BLE001
                return error, engine.counts

    return run


@pytest.fixture(params=["direct", "openai", "azure"])
def served(request, sandbox, monkeypatch):
    """Start a sandbox; returns server, endpoint and the prefix of its models."""

    def start(*faults: str) -> tuple[Any, Endpoint, str]:
        server, plain = sandbox(faults=faults)
        if request.param == "direct":
            return server, plain, ""
        monkeypatch.setenv("LOCAL_KEY", "sk-1234567890")
        monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
        base = plain.base_url.removesuffix("/v1" if request.param == "azure" else "")
        return server, Endpoint("proxy", "litellm", base, "LOCAL_KEY"), f"{request.param}/"

    return start


def test_vectors_come_in_order_once_a_text_and_are_free_the_second_time(served, go) -> None:
    server, here, prefix = served()
    vectors, counts = go(here, model=f"{prefix}embedding")
    assert [len(vector) for vector in vectors] == [256] * 4
    assert vectors[0] == vectors[3] != vectors[1]
    assert (counts.sent, counts.from_journal) == (3, 1)
    again, counts = go(here, model=f"{prefix}embedding")
    assert again == vectors
    assert counts.sent == 0
    assert server.stats()["billed"] == 3


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_a_vector_is_kept_to_the_last_bit(vector: list[float]) -> None:
    request = embedding_request(Endpoint("gpu", "direct", "http://gpu/v1"), "m", "text")
    raw = json.dumps({"data": [{"index": 0, "embedding": vector}]}).encode()
    assert vectors_of(EmbeddingReader().read(raw, request)) == [vector]


def test_the_tokens_are_billed_and_the_ceiling_holds(served, go) -> None:
    server, here, prefix = served()
    vectors, counts = go(here, model=f"{prefix}embedding-priced")
    assert len(vectors) == 4
    assert counts.spent_usd == pytest.approx((5 + 5 + 4) / 1e6)
    failed, counts = go(here, [f"text {i}" for i in range(200)], f"{prefix}embedding-priced", Budget(usd=0.0003))
    assert isinstance(failed, BudgetReachedError)
    assert 0 < counts.spent_usd <= 0.0003
    assert server.stats()["billed"] < 200


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        ("few_vectors", "wrong_number"),
        ("nan_vector", "no_vector"),
        ("other_dimension:nth=2", "other_dimension"),
        ("wrong_model", "other_model"),
        ("500", "http_500"),
    ],
)
def test_a_vector_that_is_none_ends_in_an_error_and_is_never_kept(served, go, fault: str, error_class: str) -> None:
    _, here, prefix = served(fault)
    texts = [f"text {i}" for i in range(3)]
    failed, _ = go(here, texts, f"{prefix}embedding")
    assert isinstance(failed, DataError)
    # LiteLLM itself stumbles over some replies: then nobody knows more than that.
    assert error_class in str(failed) or (prefix and "unreadable" in str(failed))


def test_a_passing_fault_is_tried_again(served, go) -> None:
    server, here, prefix = served("500:attempts=1")
    vectors, counts = go(here, TEXTS[:2], f"{prefix}embedding")
    assert len(vectors) == 2
    assert counts.retried == 2
    assert server.stats()["billed"] == 2


def test_another_length_than_the_journal_holds_is_an_error(server, go) -> None:
    length = [3]

    async def handler(request: web.BaseRequest) -> web.Response:
        assert request.path == "/v1/embeddings"
        return web.json_response({"model": "m", "data": [{"embedding": [0.5] * length[0]}]})

    here = server(handler)
    assert go(here, ["a"], "m")[0] == [[0.5] * 3]
    length[0] = 4
    failed, _ = go(here, ["a", "b"], "m")
    assert isinstance(failed, DataError)
    assert "text 1" in str(failed)


@pytest.mark.parametrize(
    ("data", "error_class"),
    [
        (None, "wrong_number"),
        ([], "wrong_number"),
        ([1, 2], "wrong_number"),
        ([{"embedding": [1.0]}, {"index": 0, "embedding": [1.0]}], "wrong_number"),
        ([{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}], "other_dimension"),
        ([{"embedding": [1.0]}, {"embedding": []}], "no_vector"),
        ([{"embedding": [1.0]}, {"embedding": [True]}], "no_vector"),
        ([{"embedding": [1.0]}, {"embedding": "AAAA"}], "no_vector"),
        ([{"embedding": [1.0]}, {"embedding": [float("inf")]}], "no_vector"),
    ],
)
def test_lists_that_are_no_vectors_are_invalid(data: Any, error_class: str) -> None:
    request = embedding_request(Endpoint("gpu", "direct", "http://gpu/v1"), "m", ["a", "b"])
    reply = EmbeddingReader().read(json.dumps({"data": data}).encode(), request)
    assert (reply.state, reply.text, reply.error_class) == ("invalid", None, error_class)


def test_vectors_are_put_into_the_order_of_the_texts() -> None:
    request = embedding_request(Endpoint("gpu", "direct", "http://gpu/v1"), "m", ["a", "b"])
    raw = b'{"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]}'
    assert vectors_of(EmbeddingReader().read(raw, request)) == [[1.0], [2.0]]


def test_the_dimensions_asked_for_are_those_that_come(sandbox, go) -> None:
    _, here = sandbox()
    vectors, _ = go(here, TEXTS[:2], dimensions=8)
    assert [len(vector) for vector in vectors] == [8, 8]


@pytest.mark.parametrize("text", ["", [], ["a", ""]])
def test_an_empty_text_is_refused(text: Any) -> None:
    with pytest.raises(UsageError, match="empty"):
        embedding_request(Endpoint("gpu", "direct", "http://gpu/v1"), "m", text)


@given(st.text(min_size=1), st.sampled_from(["direct", "litellm"]), st.integers(0, 3))
def test_an_embedding_never_shares_a_key_with_a_chat(text: str, transport: Any, replicate: int) -> None:
    here = Endpoint("gpu", transport, "http://gpu/v1")
    ours = embedding_request(here, "m", text)
    assert ours.kind == "embedding"
    for body in (
        {"model": "m", "messages": [{"role": "user", "content": text}]},
        {"model": "m", "messages": [{"role": "user", "content": text}], "input": text},
        {**ours.body, "messages": []},
    ):
        chat = Request(here, body, "c", "1", replicate)
        assert chat.kind == "chat"
        assert chat.key != ours.key


@given(st.text(min_size=1))
def test_the_highest_cost_of_an_embedding_covers_its_tokens(text: str) -> None:
    request = embedding_request(Endpoint("gpu", "direct", "http://gpu/v1"), "m", text)
    assert request.max_tokens_in >= len(text.encode())
    assert request.canonical == canonical_json(request.body)
