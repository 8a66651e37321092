"""Our templates, shown: whatever a page says is escaped unless it is a template's own text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetycatch.report import escaping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import HTMLResponse

HERE = Path(__file__).parent
FOLDERS = (HERE / "templates", HERE / "browser" / "templates")


class Pages:
    """Renders the templates of the review page and the row browser; `csrf` and `places` are on each of them.

    `places` are the links at the head of a page: path and words.
    """

    def __init__(self, csrf: str, places: Sequence[tuple[str, str]]) -> None:
        import jinja2

        self._csrf, self._places = csrf, tuple(places)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDERS),
            autoescape=True,
            finalize=escaping.finalize,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, template: str, path: str, *, status: int = 200, **shown: Any) -> HTMLResponse:
        """Return the page of `template`; `path` is the request's, by which the page's own link is marked.

        Texts longer than `escaping.MAX_CHARACTERS` are cut: `escaping.html` takes another limit.
        """
        from starlette.responses import HTMLResponse

        text = self._templates.get_template(template).render(csrf=self._csrf, places=self._places, path=path, **shown)
        return HTMLResponse(text, status)
