"""Loading the flows: ours or the project's, without giving the names `flows` and `tasks` away.

The wheel carries the checkout's `flows/` and `tasks/` as `safetycatch/_pipeline/`; a checkout has them beside `src/`.
They import each other by these top-level names, which a user's own modules may also have: see
docs/decisions/0002-import-window.md.
"""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetycatch.errors import SafetycatchError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from safetycatch.project import Project

PACKAGES = ("flows", "tasks")
MARK = Path("flows") / "evaluate.py"

_loaded: dict[tuple[Path, ...], dict[str, ModuleType]] = {}
_lock = threading.RLock()


class _Finder:
    """Finds the packages `flows` and `tasks` in given folders, and nothing else."""

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self._roots = [str(root) for root in roots]

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, self._roots) if fullname in PACKAGES else None


def flow(name: str, project: Project | None = None) -> Any:
    """Return the Prefect flow `name` of `flows/<name>.py`.

    Raises: SafetycatchError when there is no such flow.
    """
    return getattr(module(f"flows.{name}", project), name)


def module(name: str, project: Project | None = None) -> ModuleType:
    """Return a module of the pipeline, such as `tasks.session`; a second call returns the same object.

    A declared project's own `flows/` (and `tasks/`, where it has them) come before ours.
    Raises: SafetycatchError when it is not there.
    """
    roots = folders(project)
    with _window(roots):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in PACKAGES:
                raise
            raise SafetycatchError(f"no module {error.name!r} in {', '.join(str(root) for root in roots)}") from None


def folders(project: Project | None = None) -> tuple[Path, ...]:
    """Return the folders that hold `flows/` and `tasks/`, the first one winning."""
    ours = home()
    if project is None or not project.declared or project.root == ours or not (project.root / MARK).is_file():
        return (ours,)
    return project.root, ours


def home() -> Path:
    """Return the folder of our own `flows/` and `tasks/`: inside the wheel, else the checkout.

    Raises: SafetycatchError when the installation has neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_pipeline", package.parents[1]):
        if (folder / MARK).is_file():
            return folder
    raise SafetycatchError(f"this installation has no flows (looked beside {package}): install safetycatch again")


@contextmanager
def _window(roots: tuple[Path, ...]) -> Generator[None]:
    """Let `flows` and `tasks` mean ours for the length of an import, then what they meant before."""
    with _lock:
        theirs = _taken()
        sys.modules.update(_loaded.setdefault(roots, {}))
        finder = _Finder(roots)
        sys.meta_path.insert(0, finder)  # type: ignore[arg-type] - a finder needs find_spec only
        try:
            yield
        finally:
            sys.meta_path.remove(finder)  # type: ignore[arg-type]
            _loaded[roots].update(_taken())
            sys.modules.update(theirs)


def _taken() -> dict[str, ModuleType]:
    """Remove and return every loaded module below `flows` and `tasks`."""
    names = [name for name in sys.modules if name.partition(".")[0] in PACKAGES]
    return {name: sys.modules.pop(name) for name in names}
