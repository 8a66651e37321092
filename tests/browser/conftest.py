import os
import shutil
from contextlib import ExitStack

import pytest

from tests.review.conftest import desk_in, served

LIMIT_MS = 10_000
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium():
    """The machine's headless Chromium, driven with real keys and clicks.

    Of one module: while its driver lives, this thread has a running event loop, in which no other test could start one.
    """
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        missing = f"needs one of {', '.join(NAMES)}: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def labelling(tmp_path):
    """Serves a desk of its own: gives the client, whose `keys.url()` is the link."""
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(served(desk_in(tmp_path, *args, **more)))


@pytest.fixture
def page(chromium, labelling):
    """A page in a context of its own; what its script or its policy complains about fails the test.

    It is closed before the server is.
    """
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(LIMIT_MS)
    opened, complaints = context.new_page(), []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.complaints = complaints
    yield opened
    context.close()
    assert complaints == []
