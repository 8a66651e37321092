"""What the tasks of one flow run share in this process: journal, budget, prices, limits learned, stop flag, sandbox."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetycatch.calls import Budget, EngineSettings, Lanes, StopFlag, install
from safetycatch.calls.journal import Journal
from safetycatch.calls.prices import Prices
from safetycatch.errors import ExperimentError
from safetycatch.experiment import EXPLORING_BUDGET, BudgetSettings, Experiment, PriceSettings
from safetycatch.identity import file_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from safetycatch.calls import Progress
    from safetycatch.project import Project
    from safetycatch.sandbox import RunningSandbox
    from safetycatch.store.ledger import Consent
    from tasks.stage import Place
    from tasks.start import Inputs

JOURNAL = "calls.db"


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who looks on: told how many replies to expect, of progress while calls are made, and when a stage ends.

    `ask` gets what a run would pay and returns who says yes to it (None: nobody does); asking ends when its second
    argument, a stop flag, is set.
    """

    progress: Callable[[str, Progress], None] | None = None
    say: Callable[[str, str], None] | None = None
    expect: Callable[[int], None] | None = None
    ask: Callable[[str, StopFlag], Consent | None] | None = None


WATCHER: ContextVar[Watcher] = ContextVar("watcher", default=Watcher())  # noqa: B039 - frozen
_CURRENT: ContextVar[Session] = ContextVar("session")


@dataclass(slots=True)
class Session:
    """Shared, process-wide state of one flow run; made by `session`.

    `counts` are those of every answering, `made` the artifacts that were asked for, `last_error` texts by candidate.
    """

    journal: Journal
    budget: Budget
    prices: Prices
    stop: StopFlag
    lanes: Lanes = field(default_factory=Lanes)
    resources: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    made: set[str] = field(default_factory=set)
    counts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    last_error: dict[str, str] = field(default_factory=dict[str, str])
    _sandbox: RunningSandbox | None = None

    def sandbox_url(self) -> str:
        """Return the embedded sandbox's base URL; it is started when first asked for."""
        if self._sandbox is None:
            from safetycatch.sandbox import running

            self._sandbox = self.resources.enter_context(running())
        return self._sandbox.base_url


def stopping(n_calls: int) -> str:
    """Return what a stop does while so many calls are under way."""
    if not n_calls:
        return "nothing new is sent; no call is under way; once more leaves at once"
    noun = "call" if n_calls == 1 else "calls"
    waits = f"waits up to {EngineSettings().drain_s:g} s for {n_calls:,} {noun} under way"
    return f"nothing new is sent; {waits}; once more leaves at once"


def current() -> Session:
    """Return the session of the flow run that the caller is part of."""
    return _CURRENT.get()


def ceiling(experiment: Experiment) -> BudgetSettings:
    """Return the ceilings in force: the file's, else those of exploring."""
    own = experiment.budget or BudgetSettings()
    return own if own.bounded else own.model_copy(update=EXPLORING_BUDGET)


@contextlib.contextmanager
def session(place: Place, experiment: Experiment, project: Project) -> Generator[Session]:
    """Open what the tasks of a flow run share, and close it at the end."""
    store = place.open_store()
    limits = ceiling(experiment)
    with contextlib.ExitStack() as resources:
        journal = resources.enter_context(Journal.open(store.root / JOURNAL))
        budget = Budget(limits.usd, limits.tokens, limits.calls, already=journal.spent(place.run_id))
        flag = StopFlag()
        if threading.current_thread() is threading.main_thread():
            # Prefect sets its own SIGTERM handler when the flow starts; ours drains what is paid, so it comes after.
            flag = resources.enter_context(install(flag))
            say = WATCHER.get().say
            if say is not None:
                resources.callback(flag.listen(lambda: say("stop", stopping(budget.held.calls))))
        shared = Session(journal, budget, Prices(_price_table(experiment, project)), flag, resources=resources)
        token = _CURRENT.set(shared)
        try:
            yield shared
        finally:
            _CURRENT.reset(token)


def prices_of(inputs: Inputs) -> dict[str, PriceSettings]:
    """Return the user's prices: the project's, then the experiment's own."""
    return {**inputs.project.settings.prices, **inputs.experiment.prices}


def _price_table(experiment: Experiment, project: Project) -> dict[str, dict[str, float]]:
    """Return the user's prices and the highest cost that `call` candidates state for one call."""
    prices = {**project.settings.prices, **experiment.prices}
    named = {name: price.model_dump(exclude_none=True) for name, price in prices.items()}
    for candidate in experiment.candidates:
        if candidate.call and candidate.max_cost_usd is not None:
            free = {"input_per_m": 0.0, "output_per_m": 0.0}
            named[f"function/{candidate.call}"] = {**free, "per_call": candidate.max_cost_usd}
    return named


def load_function(name: str, folders: tuple[Path, ...], where: str) -> tuple[Callable[..., Any], str]:
    """Return the user's function `module:function` and the SHA-256 of its module's source.

    Raises: ExperimentError when module or function is not there.
    """
    module_name, _, function_name = name.partition(":")
    make_importable(folders)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ExperimentError(
            f"no module {error.name!r}", where=where, expected=f"a module beside {folders[0]}"
        ) from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ExperimentError(f"{module_name} has no function {function_name!r}", where=where)
    source = getattr(module, "__file__", None)
    return function, file_sha256(Path(source)) if source else ""


def make_importable(folders: tuple[Path, ...]) -> None:
    """Put the experiment's folder and the project's root first on the import path, for the user's own functions."""
    for folder in reversed(folders):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
