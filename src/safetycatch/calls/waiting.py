"""Telling who looks on what a run waits for while no reply comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_S = 1.0
QUIET_S = 5.0


async def tell_waits(
    say: Callable[[str], None],
    *,
    done: Callable[[], int],
    lanes: Callable[[], list[str]],
    elsewhere: Callable[[], int],
    clock: Callable[[], float],
) -> None:
    """Tell `say`, until cancelled, what holds up a run that has been without a reply for 5 seconds.

    `done` counts replies; `lanes` returns what lanes wait for and was not told lately; `elsewhere` counts the requests
    that others ask for, and it is told too when there are none any more.
    """
    seen, since, told = done(), clock(), False
    while True:
        await asyncio.sleep(LOOK_S)
        waiting = elsewhere()
        if told and not waiting:
            told = False
            say("goes on")
        if done() != seen:
            seen, since = done(), clock()
        if clock() - since < QUIET_S:
            continue
        for lane in lanes():
            say(lane)
        if waiting and not told:
            told = True
            say(f"waits for {waiting:,} of its calls, which another process, run or candidate asks for")
