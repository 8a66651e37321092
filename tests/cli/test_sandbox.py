import json
import signal
import urllib.request

import pytest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("as_json", [False, True])
def test_the_sandbox_serves_until_a_signal(started, number, as_json):
    process = started("sandbox", *(["--json"] if as_json else []))
    if as_json:
        told = "".join(process.stdout.readline() for _ in range(4))
        address = json.loads(told)["base_url"]
    else:
        address = process.stdout.readline().split()[-1]
    with urllib.request.urlopen(f"{address}/models", timeout=10) as reply:  # noqa: S310 - loopback
        assert reply.status == 200
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_wrong_fault_is_named(cli):
    ended = cli("sandbox", "--fault", "500:often")
    assert ended.code == 2
    assert "500:often" in ended.err


def test_a_port_that_is_taken_exits_2(started):
    first = started("sandbox")
    port = first.stdout.readline().rstrip().rpartition(":")[2].partition("/")[0]
    second = started("sandbox", "--port", port)
    _, err = second.communicate(timeout=20)
    assert second.returncode == 2
    assert port in err
