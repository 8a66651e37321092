import datetime as dt
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from safetycatch.sandbox import SandboxSettings, running
from safetycatch.store import Store
from safetycatch.store.certificates import Certificates
from tests.judging.certified import certificate

SECRETS = {
    "OPENAI_API_KEY": "sk-hidden-000000000000000",
    "SAFETYCATCH_KEY_LOCAL": "local-hidden-1111111",
    "PREFECT_API_URL": "http://user:password-hidden@127.0.0.1:9/api",
}


def test_doctor_names_keys_and_never_shows_one(cli, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for ended in (cli("doctor"), cli("doctor", "--json")):
        assert "OPENAI_API_KEY" in ended.out
        assert "SAFETYCATCH_KEY_LOCAL" in ended.out
        assert "hidden" not in ended.out + ended.err


def test_nothing_wrong_exits_0_and_makes_nothing(cli, tmp_path):
    ended = cli("doctor")
    assert ended.code == 0
    assert ended.out.endswith("nothing wrong\n")
    assert not list(tmp_path.iterdir())


def test_an_endpoint_is_asked_without_its_key(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("SAFETYCATCH_KEY_LOCAL", "right")
    with running(SandboxSettings(key="right")) as server:
        (tmp_path / "safetycatch.yaml").write_text(f"endpoints: {{local: '{server.base_url}'}}")
        ended = cli("doctor")
    assert ended.code == 0
    assert "answers (401, it asks for a key)" in ended.out


@pytest.mark.parametrize(
    ("project", "told"),
    [
        ("endpoints: {local: 'http://127.0.0.1:9/v1'}", "no answer"),
        ("endpoints: {local: 'http://example.com/v1'}", "plain http"),
        ("nope: 1", "unknown key 'nope'"),
    ],
)
def test_what_is_wrong_exits_10(cli, tmp_path, project, told):
    (tmp_path / "safetycatch.yaml").write_text(project)
    ended = cli("doctor")
    assert ended.code == 10
    assert told in ended.out
    assert not cli("doctor", "--json").document["ok"]


def test_a_store_that_is_no_folder_is_wrong(cli, tmp_path):
    (tmp_path / ".safetycatch").write_text("")
    assert cli("doctor").code == 10


@pytest.mark.parametrize(("days", "code", "state"), [(10, 10, "wrong"), (90, 0, "note"), (400, 0, "ok")])
def test_shutdown_dates_of_models_in_use(cli, tmp_path, monkeypatch, days, code, state):
    ends = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=days)
    monkeypatch.setattr("safetycatch.calls.prices.Prices.deprecation_date", lambda *_: ends)
    (tmp_path / "x.yaml").write_text("data: t.csv\nprompts: [p.md]\nmodels: [openai/gpt-x]\n")
    ended = cli("doctor", "--json")
    (found,) = [check for check in ended.document["checks"] if check["area"] == "models"]
    assert (ended.code, found["state"]) == (code, state)
    assert "openai/gpt-x" in found["text"]


def test_the_fix_of_a_drifted_judge_can_be_typed(cli, tmp_path):
    kept = Certificates(Store.open(tmp_path / ".safetycatch"))
    for name in ("here", "gone"):
        kept.save(certificate(experiment=name, drift={"alarm": True, "detail": "9 of 100 changed"}))
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "my judge.yaml").write_text(
        "name: here\ndata: t.csv\nprompts: [p.md]\nmodels: [openai/gpt-x]\n"
    )
    found = {
        check["text"].split(":")[0]: check["fix"]
        for check in cli("doctor", "--json").document["checks"]
        if check["area"] == "judges"
    }
    assert found["here"] == "safetycatch calibrate 'experiments/my judge.yaml'"
    assert found["gone"] == "calibrate again with the file of the experiment gone, which does not lie here"


def test_a_wrong_path_of_an_endpoint_is_wrong(cli, tmp_path):
    with running(SandboxSettings()) as server:
        wrong = server.base_url.removesuffix("/v1") + "/v2"
        (tmp_path / "safetycatch.yaml").write_text(f"endpoints: {{local: '{wrong}'}}")
        ended = cli("doctor")
    assert ended.code == 10
    assert "not at this path: 404 for /models, 404 for /chat/completions" in ended.out
    assert "up to /v1" in ended.out


class _Chats(BaseHTTPRequestHandler):
    """A server without a list of models, which refuses a chat without a model; elsewhere a web site."""

    def do_GET(self):
        page = self.path.startswith("/site")
        self.send_response(200 if page else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def do_POST(self):
        self.send_response(400 if self.path == "/v1/chat/completions" else 404)
        self.end_headers()

    def log_message(self, format, *args):  # noqa: A002 - the name it overrides
        pass


@pytest.mark.parametrize(
    ("path", "code", "told"), [("/v1", 0, "it has no list of models"), ("/site", 10, "a web page for /models")]
)
def test_an_endpoint_is_known_by_its_chats_too(cli, tmp_path, path, code, told):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Chats) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (tmp_path / "safetycatch.yaml").write_text(
            f"endpoints: {{local: 'http://127.0.0.1:{server.server_port}{path}'}}"
        )
        ended = cli("doctor")
        server.shutdown()
    assert ended.code == code
    assert told in ended.out
