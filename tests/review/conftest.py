import http.client
import itertools
import json
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pyarrow as pa
import pytest

from safetycatch.identity import output_hash
from safetycatch.review.app import Review, create_app
from safetycatch.review.desk import Desk
from safetycatch.review.serving import bound, keys_of, running
from safetycatch.store.label_sets import LabelSet, SetSettings
from safetycatch.tables import schema

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ticking():
    """A clock that goes on by a second at every look."""
    seconds = itertools.count()
    return lambda: NOW + timedelta(seconds=next(seconds))


def items(outputs, **more):
    """Items of these outputs, one a question."""
    rows = [
        {"example_id": f"e{i}", "candidate": "secret-candidate", "output_hash": output_hash(text), "input": f"q{i}",
         "output": text, "reference": None, "sampling_probability": 0.5, **more}
        for i, text in enumerate(outputs)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema("label_items"))


def desk_in(folder, outputs=("one", "two", "three"), items_=None, **settings):
    """A desk of a label set with these outputs."""
    table = items(outputs) if items_ is None else items_
    labels = LabelSet.create(folder / "labels" / "set", table, SetSettings(**settings), now=NOW)
    return Desk(labels, annotator="ann", again="safetycatch review labels/set", now=ticking())


@pytest.fixture
def desk(tmp_path):
    return partial(desk_in, tmp_path)


class Client:
    """Asks a page as a browser would, or not quite."""

    def __init__(self, keys):
        self.keys = keys
        self.headers = {
            "Host": f"127.0.0.1:{keys.port}",
            "Cookie": f"{keys.cookie}={keys.session}",
            "Origin": f"http://127.0.0.1:{keys.port}",
            "X-Safetycatch-CSRF": keys.csrf,
            "Content-Type": "application/json",
        }

    def ask(self, method, path, body=None, **changed):
        headers = {**self.headers, **{name.replace("_", "-"): value for name, value in changed.items()}}
        connection = http.client.HTTPConnection("127.0.0.1", self.keys.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            if body is not None:
                headers.setdefault("Content-Length", str(len(data)))
            for name, value in headers.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(data)
            reply = connection.getresponse()
            text = reply.read()
            return reply.status, dict(reply.getheaders()), text.decode()
        finally:
            connection.close()

    def get(self, path, **changed):
        return self.ask("GET", path, **changed)

    def post(self, acts, who="ann", **changed):
        return self.ask("POST", "/api/acts", {"as": who, "set": self.desk.labels.identity, "acts": acts}, **changed)

    def json(self, path):
        return json.loads(self.get(path)[2])


@contextmanager
def served(made):
    """A page on a real port, and a client that has opened its link."""
    with closing(bound(0)) as listener:
        keys = keys_of(listener)
        with running(create_app(Review(made), keys), listener):
            client = Client(keys)
            client.desk = made
            yield client


@pytest.fixture
def opened(desk):
    """Serves a page of a desk of its own."""
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(served(desk(*args, **more)))


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """One page for tests that change nothing."""
    with served(desk_in(tmp_path_factory.mktemp("page"))) as found:
        yield found
