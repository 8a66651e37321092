"""What a run shows while it works: a bar with calls, money and time left; a line now and then when piped."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from safetycatch.cli.output import safe

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from safetycatch.calls import Progress
    from safetycatch.cli.output import Output

LINE_EVERY_S = 5.0
CALLS = "calls"


class Tally:
    """Sums the snapshots of engines: each candidate's shards follow each other, and each engine counts from 0."""

    def __init__(self) -> None:
        self._ended = {"done": 0, "from_journal": 0, "errors": 0}
        self._now: dict[str, Progress] = {}
        self._spent_usd, self._unpriced = 0.0, 0

    def add(self, candidate: str, seen: Progress) -> None:
        """Take a candidate's latest snapshot; one with fewer replies than before belongs to its next shard."""
        before = self._now.get(candidate)
        if before is not None and seen.done < before.done:
            for name in self._ended:
                self._ended[name] += getattr(before, name)
            before = None
        self._now[candidate] = seen
        self._spent_usd += seen.spent_usd - (before.spent_usd if before else 0.0)
        self._unpriced += seen.unpriced - (before.unpriced if before else 0)

    def of(self, name: str) -> int:
        """Return `done`, `from_journal` or `errors`, summed."""
        return self._ended[name] + sum(getattr(seen, name) for seen in self._now.values())

    def text(self) -> str:
        """Return the sums as a person reads them, without the number of calls."""
        from safetycatch.report.numbers import spent

        done, held = self.of("done"), self.of("from_journal")
        money = spent(None if self._unpriced else self._spent_usd, self._spent_usd)
        hits = f"{100 * held / done:.0f} % from the journal · " if done and held else ""
        return f"{hits}{self.of('errors'):,} errors · {money}"


class LiveView(AbstractContextManager["LiveView"]):
    """Prints stages as they end and calls while they are made; `clock` returns monotonic seconds."""

    def __init__(self, output: Output, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output, self._clock = output, clock
        self._tally = Tally()
        self._total: int | None = None
        self._done_before = 0
        self._began = clock()
        self._last_line = self._began
        self._bar: Any = None
        self._task: Any = None
        stream = sys.stderr if output.json else sys.stdout
        self._live = stream.isatty() and not output.json

    def say(self, stage: str, text: str) -> None:
        """Print the line of a stage."""
        self._close_bar()
        self._last_line = self._clock()
        self._output.field(stage, text)

    def expect(self, n_calls: int) -> None:
        """Take the number of replies that the run is expected to be made of; the time left is counted from here."""
        self._total, self._began = n_calls, self._clock()
        self._done_before = self._tally.of("done")

    def progress(self, candidate: str, seen: Progress) -> None:
        """Show a snapshot of one candidate's calls."""
        self._tally.add(candidate, seen)
        if self._live:
            self._draw()
        elif self._clock() - self._last_line >= LINE_EVERY_S:
            self._last_line = self._clock()
            self._output.field(CALLS, f"{self._counted()} · {self._tally.text()}{self._time_left()}")

    def _counted(self) -> str:
        done = self._tally.of("done")
        # More may be asked than was expected: a race that goes on, ties for a judge.
        return f"{done:,}/{max(self._total, done):,}" if self._total else f"{done:,}"

    def _time_left(self) -> str:
        from safetycatch.report.numbers import seconds

        done, passed = self._tally.of("done"), self._clock() - self._began
        since = done - self._done_before
        if not self._total or not since or done >= self._total:
            return ""
        return f" · {seconds(max(1.0, passed / since * (self._total - done)))} left"

    def _draw(self) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("  calls    "), BarColumn(bar_width=20), TextColumn("{task.fields[words]}"))
            self._bar = Bar(*columns, console=Console(highlight=False, markup=False), transient=True)
            self._task = self._bar.add_task("", total=self._total, words="")
            self._bar.start()
        words = f"{self._counted()} · {self._tally.text()}{self._time_left()}"
        done = self._tally.of("done")
        total = max(self._total, done) if self._total else None
        self._bar.update(self._task, completed=done, total=total, words=safe(words))

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._close_bar()
