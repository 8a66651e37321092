"""The labelling page in a real browser: real keys, real clicks, a real server."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from safetycatch.store.label_sets import LabelSet
from tests.review.conftest import desk_in, items

ITEM = "document.getElementById('done').hidden ? document.documentElement.dataset.item ?? null : 'done'"
pytestmark = pytest.mark.timeout(120)


def open_page(page, client, who="ann"):
    page.goto(client.keys.url("/label"))
    if who != "ann":
        page.goto(client.keys.url("/label").partition("?")[0] + f"?as={who}")
    page.wait_for_selector("html[data-item]")


def saved(page, n):
    page.wait_for_selector(f"#saved:text-is('saved {n}')")


def at(page, number):
    """Wait until this answer is on the screen."""
    page.wait_for_selector(f"html[data-item='{number}']")


def labels(client):
    return {row["example_id"]: row for row in client.desk.labels.labels().to_pylist()}


def test_a_thousand_labels_by_keyboard_without_a_reload(page, labelling):
    client = labelling([f"answer number {i}" for i in range(1000)])
    loads = []
    page.on("load", lambda _: loads.append(1))
    open_page(page, client)
    while (number := page.evaluate(ITEM)) != "done":
        if number is not None:  # what is pressed while the next answer is on its way labels nothing
            page.keyboard.press("f" if int(number) % 3 == 0 else "p")
    page.wait_for_selector("#done:not([hidden])")
    saved(page, 1000)
    found = labels(client)
    assert len(found) == 1000
    assert all(found[f"e{i}"]["label"] == ("fail" if i % 3 == 0 else "pass") for i in range(1000))
    assert loads == [1]


def test_failure_modes_are_named_marked_merged_and_undone_by_keys(page, labelling):
    client = labelling([f"answer {i}" for i in range(6)])
    open_page(page, client)
    page.keyboard.press("n")
    page.keyboard.type("too long")
    page.keyboard.press("Enter")
    page.keyboard.press("c")
    page.keyboard.type("nobody asked for p, f or u")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    at(page, 1)
    page.keyboard.press("n")
    page.keyboard.type("wordy")
    page.keyboard.press("Enter")
    page.keyboard.press("f")
    page.keyboard.press("1")
    page.keyboard.press("f")
    saved(page, 3)
    assert labels(client)["e0"]["critique"] == "nobody asked for p, f or u"
    assert labels(client)["e2"]["failure_mode"] == "too long"
    page.keyboard.press("r")
    page.select_option("#ask-which", "wordy")
    page.fill("#ask-text", "too long")
    page.keyboard.press("Enter")
    page.wait_for_selector("#modes .n:text-is('3')")
    assert page.locator("#modes button").count() == 1
    assert {row["failure_mode"] for row in labels(client).values()} == {"too long"}
    page.keyboard.press("u")
    saved(page, 2)
    assert page.evaluate("document.documentElement.dataset.item") == "2"
    page.keyboard.press("s")
    page.keyboard.press("p")
    saved(page, 3)
    assert set(labels(client)) == {"e0", "e1", "e3"}


def test_clicks_do_what_keys_do(page, labelling):
    client = labelling(["one", "two", "three"])
    open_page(page, client)
    page.click("#verdicts button:has-text('fail')")
    page.click("#skip")
    page.click("#verdicts button:has-text('pass')")
    page.click("#back")
    page.click("#verdicts button:has-text('fail')")
    saved(page, 2)
    page.wait_for_selector("#done:not([hidden])")
    assert {name: row["label"] for name, row in labels(client).items()} == {"e0": "fail", "e2": "fail"}
    page.click("#done a")
    assert "2 of 3 answers are labelled: ann 2" in page.inner_text("main")


def test_a_key_held_down_labels_one_answer(page, labelling):
    client = labelling([f"answer {i}" for i in range(20)])
    open_page(page, client)
    for _ in range(10):
        page.keyboard.down("p")  # after the first, the browser says that it repeats
    page.keyboard.up("p")
    saved(page, 1)
    assert list(labels(client)) == ["e0"]


HOSTILE = {
    "script": "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "markdown": "**bold** [link](javascript:alert(1)) ![i](http://127.0.0.1:9/leak.png)",
    "right-to-left": "pay \u202e000,1\u202c now \u200bhidden \u05e9\u05dc\u05d5\u05dd",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \r\x08",
    "nul": "before\x00after",
    "huge": "x" * 5_000_000,
    "one line": "word" * 2_000,
    "closing": "</pre></section></main><h1>owned</h1>",
}


def test_hostile_outputs_are_text(page, labelling):
    client = labelling(list(HOSTILE.values()))
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    open_page(page, client)
    shown = {}
    for number, name in enumerate(HOSTILE):
        at(page, number)
        shown[name] = page.inner_text("[data-part=output] pre")
        assert page.locator("[data-part=output] pre *").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("f")
    saved(page, len(HOSTILE))
    assert page.title() == "set · safetycatch"
    assert page.locator("h1").count() == 1
    assert shown["script"] == HOSTILE["script"]
    assert shown["markdown"] == HOSTILE["markdown"]
    assert shown["right-to-left"].startswith("pay \\u202e000,1\\u202c now \\u200bhidden")
    assert shown["ansi"].startswith("\\u001b[31mred\\u001b[0m")
    assert shown["nul"] == "before\\u0000after"
    assert len(shown["huge"]) == 3000
    assert all(url.startswith(f"http://127.0.0.1:{client.keys.port}/") for url in asked)


def test_a_hostile_name_of_a_failure_mode_is_text_everywhere(page, labelling):
    client = labelling(["one", "two"])
    open_page(page, client)
    name = "<img src=x onerror=\"document.title='owned'\">"
    page.keyboard.press("n")
    page.fill("#ask-text", name)
    page.keyboard.press("Enter")
    page.keyboard.press("f")
    saved(page, 1)
    assert page.inner_text("#modes .name") == name
    page.goto(client.keys.url("/summary"))
    assert page.inner_text("tbody th") == name
    assert page.title() == "Failure modes of set · safetycatch"


def test_a_long_text_opens_on_demand(page, labelling):
    client = labelling(["a" * 3000 + "b" * 150_000])
    open_page(page, client)
    assert "150,000 characters are folded" in page.inner_text("[data-part=output] .more")
    page.keyboard.press("o")
    page.wait_for_selector("[data-part=output] .more:has-text('50,000')")
    page.click("[data-part=output] .more")
    page.wait_for_selector("[data-part=output] .more", state="hidden")
    assert page.inner_text("[data-part=output] pre") == "a" * 3000 + "b" * 150_000


def test_two_people_at_once_lose_nothing_and_share_a_fifth(chromium, labelling):
    client = labelling([f"answer {i}" for i in range(60)])
    client.desk.begin("ann")
    contexts = [chromium.new_context() for _ in range(2)]
    try:
        ann, bo = (context.new_page() for context in contexts)
        open_page(ann, client, "ann")
        open_page(bo, client, "bo")
        shared = {number for number, key in enumerate(client.desk.answers) if key in client.desk._shared}
        for _ in range(20):
            for who, key in ((ann, "p"), (bo, "f")):
                before = who.evaluate("document.documentElement.dataset.item")
                who.keyboard.press(key)
                who.wait_for_selector(f"html:not([data-item='{before}'])")
        saved(ann, 20)
        saved(bo, 20)
    finally:
        for context in contexts:
            context.close()
    rows = client.desk.labels.labels().to_pylist()
    assert {(row["annotator"], row["label"]) for row in rows} == {("ann", "pass"), ("bo", "fail")}
    mine = {row["example_id"] for row in rows if row["annotator"] == "bo"}
    assert {f"e{number}" for number in shared} <= mine
    assert len(rows) == 40


def test_criteria_pairs_and_grades_have_their_keys_on_the_screen(page, labelling, tmp_path):
    client = labelling(["one", "two"], criteria={"short": "at most 20 words", "polite": "no insult"})
    open_page(page, client)
    assert "criterion 1 of 2" in page.inner_text("#criterion")
    page.keyboard.press("p")
    assert "polite" in page.inner_text("#criterion")
    page.keyboard.press("f")
    saved(page, 1)
    page.keyboard.press("u")
    page.wait_for_selector("#criterion strong:text-is('polite')")
    page.keyboard.press("p")
    saved(page, 1)
    whole = [row["label"] for row in client.desk.labels.labels().to_pylist() if not row["criterion"]]
    assert whole == ["pass"]


def test_grades_are_given_by_their_digits_and_modes_after_m(page, labelling):
    client = labelling(["one", "two"], scale=(1, 2, 3, 4, 5))
    open_page(page, client)
    page.keyboard.press("n")
    page.keyboard.type("vague")
    page.keyboard.press("Enter")
    page.keyboard.press("2")
    at(page, 1)
    page.keyboard.press("m")
    page.keyboard.press("1")
    page.keyboard.press("3")
    saved(page, 2)
    assert {name: (row["label"], row["failure_mode"]) for name, row in labels(client).items()} == {
        "e0": ("2", "vague"),
        "e1": ("3", "vague"),
    }


def test_pairs_are_shown_side_by_side_and_blind(page, labelling):
    pair = json.dumps({"first": "the candidate's", "second": "the baseline's"}, separators=(",", ":"))
    client = labelling(items_=items([pair]), scale="pairwise")
    open_page(page, client)
    left = page.inner_text("[data-part=first] pre")
    page.keyboard.press("a")
    saved(page, 1)
    assert labels(client)["e0"]["label"] == ("first" if left == "the candidate's" else "second")


def _serve(folder, port):
    """The command itself, as a process that can be killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "safetycatch.cli.main", "review", str(folder), "--as", "ann", "--port", str(port),
         "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder.parents[1],
    )  # fmt: skip
    return process, json.loads(process.stdout.readline())["url"]


def test_kill_9_of_the_server_loses_no_label(chromium, labelling, tmp_path):
    folder = labelling([f"answer {i}" for i in range(100)]).desk.labels.folder
    context = chromium.new_context()
    page, process, port, done = context.new_page(), None, 0, 0
    try:
        for count in (3, 1, 7):
            process, url = _serve(folder, port)
            port = int(url.partition("?")[0].rsplit(":", 1)[1].strip("/"))
            # What was given while the server was gone waits in the browser, and is sent to the next one.
            page.goto(url)
            page.wait_for_selector("html[data-item]")
            saved(page, done)
            for _ in range(count):
                page.keyboard.press("p")
            done += count
            saved(page, done)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            assert LabelSet.open(folder).labels().num_rows == done
            page.keyboard.press("f")
            done += 1
            page.wait_for_selector("#problem:not([hidden])")
            assert "1 waiting" in page.inner_text("#saved")
            assert f"--port {port}" in page.inner_text("#problem")
        process, url = _serve(folder, port)
        page.goto(url)
        saved(page, done)
    finally:
        context.close()
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
    found = LabelSet.open(folder).labels().to_pylist()
    assert [row["label"] for row in found].count("fail") == 3
    assert len(found) == done == 14


def _killed(process):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def _url_then(processes, folder, port):
    process, url = _serve(folder, port)
    processes.append(process)
    return url


def test_what_waits_for_one_set_is_never_saved_on_another(chromium, tmp_path):
    one, other = (desk_in(tmp_path / name, [f"{name} {i}" for i in range(9)]).labels.folder for name in ("a", "b"))
    context, processes = chromium.new_context(), []
    try:
        tab, second = context.new_page(), context.new_page()
        url = _url_then(processes, one, 0)
        port = int(url.partition("?")[0].rsplit(":", 1)[1].strip("/"))
        for page in (tab, second):
            page.goto(url)
            page.wait_for_selector("html[data-item]")
        _killed(processes[0])
        for page, key in ((tab, "f"), (second, "p")):
            page.keyboard.press(key)
            page.wait_for_selector("#saved:has-text('1 waiting')")
        third = context.new_page()
        third.goto(_url_then(processes, other, port))
        third.wait_for_selector("#problem:has-text('2 labels wait in this browser')")
        # The tab of the first set goes on trying, now at the other one's server.
        tab.wait_for_selector('#problem:has-text("without this page\'s token")')
        assert str(port) in third.inner_text("#problem")
        third.keyboard.press("p")
        saved(third, 1)
        assert [row["label"] for row in LabelSet.open(other).labels().to_pylist()] == ["pass"]
        _killed(processes[1])
        # Two tabs gave one label each to the same answer: both were kept, the later one counts.
        again = context.new_page()
        again.goto(_url_then(processes, one, port))
        saved(again, 1)
        kept = LabelSet.open(one).kept("ann")
        assert [event.label for event in kept if event.kind == "label"] == ["fail", "pass"]
        assert again.evaluate("localStorage.length") == 0
    finally:
        context.close()
        for process in processes:
            if not process.stdout.closed:
                _killed(process)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_readable_in_light_and_dark(chromium, labelling, scheme):
    client = labelling(["one", "two"])
    context = chromium.new_context(color_scheme=scheme)
    try:
        page = context.new_page()
        open_page(page, client)
        page.keyboard.press("n")
        page.keyboard.type("rude")
        page.keyboard.press("Enter")
        low = page.evaluate(CONTRAST)
    finally:
        context.close()
    assert low == []


# The texts on the screen whose contrast with what lies behind them is below 4.5 : 1 (WCAG 2.2, 1.4.3).
CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = rgb(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')].filter((one) => one.offsetParent && [...one.childNodes]
    .some((child) => child.nodeType === 3 && child.textContent.trim())).map((one) => {
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
    return [(a + .05) / (b + .05), one.outerHTML.slice(0, 80)];
  }).filter(([ratio]) => ratio < 4.5);
}"""


def test_what_changes_is_announced_and_focus_is_seen(page, labelling):
    client = labelling(["one", "two"])
    open_page(page, client)
    assert page.get_attribute("#status", "aria-live") == "polite"
    assert page.inner_text("#status") == "Answer 1 of 2"
    page.keyboard.press("p")
    page.wait_for_selector("#status:text-is('Answer 2 of 2')")
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, textarea, select')].filter((one) => one.offsetParent"
        " && !one.textContent.trim() && !one.labels?.length && !one.ariaLabel).length"
    )
    assert unnamed == 0
