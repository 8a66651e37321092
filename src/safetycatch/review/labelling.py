"""The routes of the labelling page: its HTML, and JSON for what a key does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetycatch.errors import InputError, SafetycatchError
from safetycatch.identity import checked_name
from safetycatch.report import escaping
from safetycatch.review.desk import AnotherSetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from safetycatch.review.desk import Desk
    from safetycatch.review.pages import Pages

MAX_RUBRIC = 20_000
MAX_AHEAD = 50


def routes(desk: Desk, pages: Pages) -> list[BaseRoute]:
    """Return the routes by which people label what lies on the desk."""
    from starlette.routing import Route

    room = _Labelling(desk, pages)
    return [
        Route("/label", room.page),
        Route("/summary", room.summary),
        Route("/api/state", _json(room.state)),
        Route("/api/items", _json(room.items)),
        Route("/api/text", _json(room.text)),
        Route("/api/begin", room.begin, methods=["POST"]),
        Route("/api/acts", room.acts, methods=["POST"]),
    ]


def _json(answer: Callable[[Request], Any]) -> Callable[[Request], Response]:
    """Return an endpoint that answers with JSON; what the page asked wrongly, or the disk refused, is told as such."""
    from starlette.responses import JSONResponse

    def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(answer(request))
        except AnotherSetError as error:
            return JSONResponse({"error": escaping.visible(str(error))}, 409)
        except InputError as error:
            return JSONResponse({"error": escaping.visible(str(error))}, 400)
        except SafetycatchError as error:
            return JSONResponse({"error": escaping.visible(str(error))}, 500)

    return endpoint


class _Labelling:
    def __init__(self, desk: Desk, pages: Pages) -> None:
        self._desk, self._pages = desk, pages

    def _annotator(self, request: Request) -> str:
        asked = request.query_params
        if "set" in asked:
            self._desk.check(asked["set"])
        return checked_name(asked.get("as") or self._desk.annotator, "as")

    def page(self, request: Request) -> Response:
        settings = self._desk.labels.settings
        return self._pages.page(
            "label.html.j2",
            request.url.path,
            name=self._desk.labels.name,
            identity=self._desk.labels.identity,
            n=len(self._desk.answers),
            rubric=escaping.html(settings.rubric, MAX_RUBRIC) if settings.rubric else "",
            annotator=self._desk.annotator,
            pairwise=settings.scale == "pairwise",
        )

    def summary(self, request: Request) -> Response:
        from safetycatch.review.summary import summarised

        return self._pages.page("summary.html.j2", request.url.path, found=summarised(self._desk))

    def state(self, request: Request) -> dict[str, Any]:
        return self._desk.state(self._annotator(request))

    def items(self, request: Request) -> list[dict[str, Any]]:
        wanted = request.query_params.get("n", "").split(",")[:MAX_AHEAD]
        return [self._desk.shown(self._annotator(request), _number(one)) for one in wanted]

    def text(self, request: Request) -> dict[str, Any]:
        asked = request.query_params
        number, start = _number(asked.get("n", "")), _number(asked.get("from", ""))
        return self._desk.text(self._annotator(request), number, asked.get("part", ""), start)

    async def begin(self, request: Request) -> Response:
        return await self._posted(request, self._begin)

    async def acts(self, request: Request) -> Response:
        return await self._posted(request, self._act)

    async def _posted(self, request: Request, answer: Callable[[dict[str, Any]], Any]) -> Response:
        from starlette.concurrency import run_in_threadpool

        body = await request.body()
        return await run_in_threadpool(_json(lambda _request: answer(self._said(body))), request)

    def _said(self, body: bytes) -> dict[str, Any]:
        try:
            said: Any = json.loads(body)
        except (ValueError, RecursionError):
            raise InputError("no JSON") from None
        if not isinstance(said, dict) or not isinstance(said.get("as"), str) or not isinstance(said.get("set"), str):
            raise InputError("found something else", expected="as: who, set: the page's label set")
        self._desk.check(said["set"])
        return said

    def _begin(self, said: dict[str, Any]) -> dict[str, Any]:
        self._desk.begin(said["as"])
        return self._desk.state(said["as"])

    def _act(self, said: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(said.get("acts"), list):
            raise InputError("found something else", expected="acts: a list")
        return self._desk.act(said["as"], said["acts"])


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise InputError(f"found {text[:80]!r}", expected="a whole number")
    return int(text)
