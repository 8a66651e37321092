import http.client
import socket
import uuid

import pytest

from safetycatch.errors import UsageError
from safetycatch.review.serving import bound


def act(label="pass", item=0):
    return {"id": uuid.uuid4().hex, "do": "label", "item": item, "label": label}


def test_the_link_is_exchanged_for_a_cookie_that_no_script_reads(client):
    status, headers, _ = client.get(f"/?token={client.keys.token}", Cookie=None)
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.keys.token not in cookie
    opened_with = client.get("/label", Cookie=cookie.partition(";")[0])
    assert opened_with[0] == 200


@pytest.mark.parametrize("path", ["/", "/label", "/summary", "/api/state", "/api/items?n=0", "/static/label.js"])
@pytest.mark.parametrize("cookie", [None, "", "other=1", "safetycatch-1=x"])
def test_without_the_cookie_nothing_is_told(client, path, cookie):
    status, _, text = client.get(path, Cookie=cookie)
    assert status == 403
    assert "open the link" in text


def test_the_wrong_token_opens_nothing(client):
    assert client.get(f"/?token={client.keys.token[:-1]}", Cookie=None)[0] == 403
    assert client.get(f"/?token={client.keys.session}", Cookie=None)[0] == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", "", None]
)
def test_another_name_for_this_machine_is_refused(client, host):
    status, _, text = client.get("/label", Host=host and host.format(port=client.keys.port))
    assert status in {400, 421}
    assert "csrf" not in text


def test_two_hosts_are_refused(client):
    with socket.create_connection(("127.0.0.1", client.keys.port), timeout=10) as wire:
        host = client.headers["Host"]
        wire.sendall(f"GET /label HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert wire.recv(100).startswith(b"HTTP/1.1 400")


def test_localhost_is_a_name_of_ours(client):
    assert client.get("/label", Host=f"localhost:{client.keys.port}")[0] == 200


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"X_Safetycatch_CSRF": None}, 403),
        ({"X_Safetycatch_CSRF": "guess"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Cookie": None}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_a_foreign_page_changes_nothing(client, changed, status):
    assert client.post([act()], **changed)[0] == status
    assert client.desk.labels.labels().num_rows == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(client, method):
    assert client.ask(method, "/api/acts")[0] == 405


def test_a_get_changes_nothing(client):
    before = sorted(client.desk.labels.folder.iterdir())
    assert client.get("/api/acts")[0] == client.get("/api/begin")[0] == 405
    assert client.get("/api/state?as=bo")[0] == 200
    assert sorted(client.desk.labels.folder.iterdir()) == before


@pytest.mark.parametrize("path", ["//evil.example/", "///evil.example", "/\\evil.example/"])
def test_the_link_leads_nowhere_else(client, path):
    status, headers, _ = client.get(f"{path}?token={client.keys.token}", Cookie=None)
    assert (status, headers["location"].startswith(("//", "/\\"))) == (303, False)
    assert headers["location"].startswith("/evil.example")


@pytest.mark.parametrize("length", [None, "70000", "-1", "many"])
def test_a_body_above_the_limit_is_refused(client, length):
    body = b'{"as": "ann", "acts": []' + b" " * 70_000 + b"}"
    changed = {"Content_Length": length} if length else {"Transfer_Encoding": "chunked", "Content_Length": None}
    if length is None:
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:50_000], body[50_000:])) + b"0\r\n\r\n"
    try:
        status = client.ask("POST", "/api/acts", body, **changed)[0]
    except (ConnectionError, http.client.HTTPException):
        return  # it closed before the body was read
    assert status in {400, 413}
    assert client.desk.labels.labels().num_rows == 0


@pytest.mark.parametrize("path", ["/label", "/summary", "/api/state", "/static/label.js", "/nothing", "/api/items?n=x"])
def test_every_answer_is_sealed(client, path):
    _, headers, _ = client.get(path)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in policy
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_a_refusal_is_sealed_too(client):
    _, headers, _ = client.get("/label", Cookie=None)
    assert "content-security-policy" in headers


def test_pages_hold_no_script_or_style_of_their_own(client):
    for path in ("/label", "/summary"):
        text = client.get(path)[2]
        assert "<script>" not in text
        assert "style=" not in text
        assert "onclick" not in text
        assert "://" not in text.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/..%2fapp.py"]
)
def test_static_files_lead_nowhere_else(client, path):
    assert client.get(path)[0] == 404


def test_secrets_differ_at_every_start(client):
    first = client
    second_keys = type(first.keys)(first.keys.port)
    assert len({first.keys.token, first.keys.session, first.keys.csrf, second_keys.token, second_keys.session}) == 5
    assert first.keys.token not in repr(first.keys)


def test_only_this_machine_is_listened_to():
    listener = bound(0)
    try:
        assert listener.getsockname()[0] == "127.0.0.1"
        with pytest.raises(UsageError, match="is not free"):
            bound(listener.getsockname()[1])
    finally:
        listener.close()
