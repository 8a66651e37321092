"""The user's own system: a synchronous or asynchronous function of a row."""

from __future__ import annotations

import asyncio
import copy
import inspect
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from safetycatch.calls.completion import clean
from safetycatch.calls.faults import MAX_TEXT, CallFaultError, Fault
from safetycatch.calls.request import Reply
from safetycatch.calls.transports.delivery import Delivery
from safetycatch.calls.transports.redaction import Redactor, environment_secrets
from safetycatch.errors import UsageError
from safetycatch.identity import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from safetycatch.calls.request import Request

TRANSIENT = (TimeoutError, ConnectionError)
EXPECTED = "text, or {output: text, cost_usd: dollars}"


class Function:
    """Calls `functions["module:name"](row)`; a synchronous one runs in a pool of `concurrency` threads.

    It returns text, or `{"output": text, "cost_usd": dollars}`. What it raises becomes an error of its class.
    """

    def __init__(self, functions: Mapping[str, Callable[..., Any]], *, concurrency: int) -> None:
        self._functions = functions
        self._concurrency = concurrency
        self._redactor = Redactor([])
        self._pool: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Read which texts are keys, so that no exception shows them."""
        self._redactor = Redactor(environment_secrets())

    async def close(self) -> None:
        """Let go of the threads; one that never returns is not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    async def _run(self, function: Callable[..., Any], row: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(row)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="function")
        returned = await asyncio.get_running_loop().run_in_executor(self._pool, function, row)
        return await returned if inspect.isawaitable(returned) else returned

    async def send(self, request: Request) -> Delivery:
        """Call the function once.

        Raises: CallFaultError when it raises; UsageError when nobody passed it.
        """
        name = request.model
        if name not in self._functions:
            raise UsageError(f"no function {name!r}", expected=", ".join(sorted(self._functions)) or "a function")
        try:
            # A function that changes its row must not change what the key stands for.
            returned = await self._run(self._functions[name], copy.deepcopy(request.body.get("row")))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's code raises is the row's error
            kind = "retry" if isinstance(error, TRANSIENT) else "row"
            told = f"{type(error).__name__}: {error}{_keys(error, request.body.get('row'))}"
            text = clean(self._redactor.text(told))[:MAX_TEXT]
            raise CallFaultError(Fault(kind, f"function:{type(error).__name__}", text, "perhaps")) from None
        reply = self._reply(returned)
        raw = canonical_json({"output": reply.text, "cost_usd": reply.cost_usd})
        return Delivery(reply, raw, {})

    def _reply(self, returned: Any) -> Reply:
        output, cost = returned, None
        if isinstance(returned, dict):
            mapping = cast("dict[str, Any]", returned)
            output, cost = mapping.get("output"), mapping.get("cost_usd")
        number = isinstance(cost, (int, float)) and not isinstance(cost, bool)
        if cost is not None and not (number and math.isfinite(cost) and cost >= 0):
            return Reply("invalid", error_class="bad_return", error_text=f"cost_usd is {cost!r}"[:MAX_TEXT])
        if not isinstance(output, str):
            found = f"{type(output).__name__} was returned, expected {EXPECTED}"
            return Reply("invalid", cost_usd=cost, error_class="bad_return", error_text=found)
        return Reply("answer", text=clean(self._redactor.text(output)), cost_usd=cost)


def _keys(error: BaseException, row: Any) -> str:
    """Return what a row holds, where a function asked it for something else: the data's columns have other names."""
    if not isinstance(error, KeyError) or not isinstance(row, dict) or error.args[:1] == () or error.args[0] in row:
        return ""
    own = cast("dict[str, Any]", row)
    inner = own.get("input")
    keys = [f"input: {{{', '.join(inner)}}}" if name == "input" and isinstance(inner, dict) else name for name in own]
    return f"; the row has the keys {', '.join(keys)}"
