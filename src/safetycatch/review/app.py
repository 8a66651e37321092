"""The local page: labelling a set, and browsing a run, behind one guard.

`Review` says what there is to see. The row browser (`review.browser`) adds the routes below `/run` through its
`routes(store, run, pages)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetycatch.review.guard import Guard, Keys
from safetycatch.review.pages import Pages

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from safetycatch.review.desk import Desk
    from safetycatch.store import Store, StoredRun
    from safetycatch.store.label_sets import LabelSet

STATIC = Path(__file__).parent / "static"
LABELLING, ROWS, SUMMARY = "/label", "/run", "/summary"


@dataclass(frozen=True, slots=True)
class Review:
    """What the page shows: a `desk` where a label set is labelled, a `run` whose rows are browsed, or both.

    `labels` are shown beside a run's rows where there is no desk; `rows` is the query that they are opened with.
    """

    desk: Desk | None = None
    store: Store | None = None
    run: StoredRun | None = None
    labels: LabelSet | None = None
    rows: str = ""

    @property
    def places(self) -> list[tuple[str, str]]:
        """The links at the head of a page."""
        label = [(LABELLING, "Label"), (SUMMARY, "Failure modes")] if self.desk is not None else []
        return [*label, *([(ROWS, "Rows of the run")] if self.run is not None else [])]


def create_app(review: Review, keys: Keys) -> ASGIApp:
    """Return the page as an ASGI application that answers nobody but who holds this start's link."""
    from starlette.applications import Starlette
    from starlette.responses import RedirectResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    pages = Pages(keys.csrf, review.places)
    start = review.places[0][0]
    if start == ROWS and review.rows:
        start = f"{ROWS}?{review.rows}"

    async def home(_request: Request) -> Response:
        return RedirectResponse(start, 303)

    routes: list[BaseRoute] = [Route("/", home), Mount("/static", StaticFiles(directory=STATIC))]
    if review.desk is not None:
        from safetycatch.review import labelling

        routes += labelling.routes(review.desk, pages)
    if review.store is not None and review.run is not None:
        from safetycatch.review import browser

        shown = review.desk.labels if review.desk is not None else review.labels
        routes += browser.routes(review.store, review.run, pages, shown.labels if shown is not None else None)
    return Guard(Starlette(routes=routes), keys)
