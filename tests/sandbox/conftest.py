import http.client
import json

import pytest

from safetycatch.sandbox import Fault, SandboxSettings, running


@pytest.fixture(scope="session")
def plain():
    with running() as server:
        yield server


@pytest.fixture
def call():
    """Send one request over a socket of its own; returns status, headers and body."""

    def send(server, method, path, body=None, timeout_s=10, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)
        try:
            payload = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    return send


@pytest.fixture
def chat(call):
    """Ask a model; returns status and the parsed JSON."""

    def send(server, model, *messages, **options):
        turns = [{"role": role, "content": content} for role, content in messages]
        body = {"model": model, "messages": turns, **options}
        status, _, answer = call(server, "POST", "/v1/chat/completions", body)
        return status, json.loads(answer)

    return send


@pytest.fixture
def faulty():
    """Run a sandbox with faults for the length of a `with` block."""

    def run(*faults):
        return running(SandboxSettings(faults=tuple(Fault(**fault) for fault in faults)))

    return run
