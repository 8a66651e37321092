"""Loading rows, dividing them, and finding the ones that appear on both sides.

Names are imported when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safetycatch.data.leakage import find_leaks, leak_matrix
    from safetycatch.data.loading import LoadedExamples, load_examples
    from safetycatch.data.shortcuts import find_shortcuts
    from safetycatch.data.splitting import SplitResult, derive_dev, split

_HOMES = {
    "LoadedExamples": "loading",
    "SplitResult": "splitting",
    "derive_dev": "splitting",
    "find_leaks": "leakage",
    "find_shortcuts": "shortcuts",
    "leak_matrix": "leakage",
    "load_examples": "loading",
    "split": "splitting",
}

__all__ = [
    "LoadedExamples",
    "SplitResult",
    "derive_dev",
    "find_leaks",
    "find_shortcuts",
    "leak_matrix",
    "load_examples",
    "split",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
