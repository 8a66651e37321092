"""The row browser in a real browser: clicks, keys, the way back, hostile answers."""

import re
from contextlib import closing

import pytest

from safetycatch.review.app import Review, create_app
from safetycatch.review.serving import bound, keys_of, running
from tests.stored_rows import row, write_run

pytestmark = pytest.mark.timeout(120)

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202eevil\x1b[31m\0"


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    """The link of a page over 130 items of two candidates, the first item hostile."""
    rows = [
        row(candidate, f"i{n:03}", f"{candidate} answers {n}", float((n + (candidate == "b")) % 3 == 0))
        for n in range(130)
        for candidate in "ab"
    ]
    rows[0]["output"] = rows[0]["parsed"] = HOSTILE
    rows[1]["output"] = "مرحبا " * 5_000
    store, run = write_run(tmp_path_factory.mktemp("rows"), rows)
    with closing(bound(0)) as listener:
        keys = keys_of(listener)
        with running(create_app(Review(store=store, run=run), keys), listener):
            yield keys.url("/run")


def told(page):
    return page.inner_text(".told")


def go(page, key):
    """Press a key that leads to another page, and wait until that one is whole: its script too."""
    with page.expect_navigation():
        page.keyboard.press(key)


def at(page):
    """The place of the row that is marked."""
    return page.get_attribute("tr[aria-selected]", "id")


def test_a_choice_is_a_click_and_the_way_back_is_the_browser_s(page, link):
    page.goto(link)
    assert told(page).startswith("260 rows of 130 items")
    page.click("aside >> text=wrong")
    assert "score=wrong" in page.url
    page.click("aside .facet:first-child a >> nth=0")
    assert "86 of 260 rows" in told(page)
    page.go_back()
    assert "173 of 260 rows" in told(page)
    page.click(".chips a >> nth=0")
    assert told(page).startswith("260 rows")


def test_j_k_and_enter_go_through_the_rows(page, link):
    page.goto(link)
    for key in "jjjk":
        page.keyboard.press(key)
    assert at(page) == "r2"
    seen = []
    for key in ("Enter", "j", "k"):
        go(page, key)
        seen.append(page.inner_text("h1"))
    assert seen == ["i000", "i001", "i000"]
    go(page, "Escape")
    assert at(page) == "r1"


def test_pages_turn_by_keys_and_the_list_comes_back_where_it_was(page, link):
    page.goto(link)
    seen = []
    for key in "]][":
        go(page, key)
        seen.append(page.get_attribute("tbody tr", "id"))
    assert seen == ["r51", "r101", "r51"]
    for _ in range(9):
        page.keyboard.press("j")
    assert at(page) == "r59"
    go(page, "Enter")
    item = page.inner_text("h1")
    go(page, "Escape")
    assert at(page) == "r59"
    assert page.inner_text("#r59 a.open") == item


def test_a_slash_searches_from_anywhere(page, link):
    page.goto(link)
    page.keyboard.press("/")
    page.keyboard.type('"answers 12"')
    go(page, "Enter")
    assert page.locator("mark").count() == 22
    assert "22 of 260 rows" in told(page)
    page.click("a.open >> nth=0")
    page.wait_for_load_state()
    go(page, "/")
    page.wait_for_selector("#q:focus")
    assert page.input_value("#q") == '"answers 12"'


def test_keys_typed_into_a_field_are_text(page, link):
    page.goto(link)
    page.focus("#q")
    page.keyboard.type("jk/]")
    assert page.input_value("#q") == "jk/]"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert at(page) == "r1"


def test_two_answers_are_chosen_and_compared(page, link):
    page.goto(link)
    page.click("text=i005 >> nth=0")
    page.wait_for_selector(".compare del")
    assert page.inner_text(".compare del") == "a"
    page.select_option("select[name=a]", "b")
    page.select_option("select[name=b]", "a")
    page.click("text=Compare")
    page.wait_for_selector(".compare del >> text=b")
    assert "item=i005" in page.url


def test_a_hostile_answer_is_text(page, link):
    page.goto(link)
    page.click("a.open >> nth=0")
    page.wait_for_selector("h1")
    assert page.title() != "owned"
    assert page.locator("main img, main script").count() == 0
    shown = page.inner_text(".card >> nth=0")
    assert HOSTILE[:39] in shown
    assert "\\u202eevil\\u001b[31m\\u0000" in shown


def test_a_huge_answer_unfolds_at_a_click(page, link):
    page.goto(link)
    page.click("a.open >> nth=0")
    folded = page.locator(".card >> nth=1").locator("details")
    assert folded.get_attribute("open") is None
    folded.locator("summary").click()
    assert "مرحبا" in folded.locator(".text:not(.start)").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_everything_works_without_script(chromium, link):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(link)
    page.click("aside >> text=wrong")
    page.fill("#q", "answers")
    page.click("text=Show")
    assert "score=wrong" in page.url
    assert re.search("of 260 rows", told(page))
    page.click("a.open >> nth=0")
    page.click("a[rel=next]")
    page.click("a[rel=up]")
    assert "score=wrong" in page.url
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_runs_off_the_screen(chromium, link, width, scheme):
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    for path in ("", "/row?item=i000"):
        page.goto(link)
        page.goto(link.partition("?")[0] + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
