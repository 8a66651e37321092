"""A judge on a loopback socket whose replies a test's function writes: one place to see what a judge was shown."""

import contextlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A run connects 64 times at once; a connection that finds no room in the queue is tried again seconds later.
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """A client that was killed is no news."""


class Loopback:
    """An OpenAI-compatible server; `say(messages)` gives a reply (None: status 400), `seen` keeps all messages."""

    def __init__(self, say):
        self.say, self.seen = say, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.seen.append(body["messages"])
                text = outer.say(body["messages"])
                answer = {
                    "id": "x",
                    "object": "chat.completion",
                    "model": body["model"],
                    "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                    ],
                    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
                }
                data = json.dumps(answer).encode()
                self.send_response(200 if text is not None else 400)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format, *args):  # noqa: A002 - its name in the class
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def block(messages, name):
    """What stands in the fence `name` of the last message."""
    found = re.search(rf"<{name}-([0-9a-f]{{16}})>\n(.*?)\n</{name}-\1>", messages[-1]["content"], re.DOTALL)
    return found[2] if found else ""


def check(messages):
    """The token that the last message asks to bring back."""
    (found,) = re.findall(r'"check" is "([0-9a-f]{16})"', messages[-1]["content"])
    return found


def reply(messages, verdict, critique="because"):
    """A reply of the form that is asked for."""
    return json.dumps({"check": check(messages), "critique": critique, "verdict": verdict})


@contextlib.contextmanager
def grader(patch, say):
    """Serve `say` as the endpoint `grader`."""
    with Loopback(say) as server:
        patch.setenv("SAFETYCATCH_ENDPOINT_GRADER", server.url)
        yield server


def claim_by_judge(project, model):
    """Make the project claim by the judge `model`: candidate b thanks everybody, and thanks are what passes."""
    (project.folder / "judge.md").write_text("Passes when the answer says thanks.\n")
    project.config |= {
        "task": "generate",
        "scorers": ["judge"],
        "judge": {
            "model": {"endpoint": "grader", "model": model},
            "prompt": "judge.md",
            "labels": "labels.csv",
            "canaries": 0,
        },
        "claim": {"metric": "judge", "smallest_effect": "30 points"},
    }
    project.answers |= {"a": lambda row: row["example_id"], "b": lambda row: f"{row['example_id']} thanks"}
