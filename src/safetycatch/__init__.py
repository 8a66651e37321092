"""Safety catches for few-shot prompting and fine-tuning: see `stats`, `judging`, `data`, `fewshot`, `scoring`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safetycatch import data, fewshot, judging, scoring, stats
    from safetycatch.experiment import Experiment, load_experiment

    __version__: str

__all__ = ["Experiment", "__version__", "data", "fewshot", "judging", "load_experiment", "scoring", "stats"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `import safetycatch` stays cheap."""
    import importlib

    if name == "__version__":
        from importlib import metadata

        return metadata.version(__name__)
    if name in {"Experiment", "load_experiment"}:
        return getattr(importlib.import_module("safetycatch.experiment"), name)
    if name in __all__:
        return importlib.import_module(f"safetycatch.{name}")
    raise AttributeError(f"module 'safetycatch' has no attribute {name!r}")
