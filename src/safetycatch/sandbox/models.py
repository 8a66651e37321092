"""The models a sandbox serves, by name; `NAME-priced` is the same model with a price in the client's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from safetycatch.errors import DataError, UsageError
from safetycatch.sandbox.features import Features
from safetycatch.sandbox.judges import make_judges
from safetycatch.sandbox.learners import CentroidLearner, LinearLearner, PromptLearner
from safetycatch.sandbox.prompt import query_of, read_prompt
from safetycatch.sandbox.records import read_records

if TYPE_CHECKING:
    from pathlib import Path

    from safetycatch.sandbox.learners import Learner
    from safetycatch.sandbox.requests import ChatRequest
    from safetycatch.sandbox.settings import SandboxSettings

PRICED_SUFFIX = "-priced"
SMALL_COLUMNS = 2**12
ECHO_CHARACTERS = 64


class ReplayMissingError(LookupError):
    """A request to `replay` whose candidate and example were never recorded."""


class Model(Protocol):
    """Answers a chat request with one text."""

    def answer(self, chat: ChatRequest) -> str:
        """Return the answer's text."""
        ...


class _Learned:
    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def answer(self, chat: ChatRequest) -> str:
        return self._learner.answer(read_prompt(chat.messages))


class _Echo:
    def answer(self, chat: ChatRequest) -> str:
        text = chat.texts[-1]
        # The fence around an input is part of the prompt; a plain text takes the short way.
        return (query_of(text) if "</" in text else text)[:ECHO_CHARACTERS]


class _Replay:
    def __init__(self, path: Path | None) -> None:
        self._outputs: dict[tuple[str, str], str] = {}
        if path:
            for candidate, example_id, output in read_records(path, ("candidate", "example_id", "output")):
                if self._outputs.setdefault((candidate, example_id), output) != output:
                    raise DataError(f"two outputs of {candidate!r} for example {example_id!r}", where=str(path))

    def answer(self, chat: ChatRequest) -> str:
        candidate, example_id = chat.metadata.get("candidate"), chat.metadata.get("example_id")
        if candidate is None or example_id is None:
            raise ReplayMissingError("replay needs metadata {candidate, example_id} in the request")
        try:
            return self._outputs[str(candidate), str(example_id)]
        except KeyError:
            raise ReplayMissingError(
                f"no recorded output of candidate {candidate!r} for example {example_id!r} "
                f"({len(self._outputs):,} recorded)"
            ) from None


def load_models(settings: SandboxSettings) -> dict[str, Model]:
    """Return every model by name; `small` and `large` read prompts like `in-context` until rows to train on are given.

    Raises: DataError when the training or replay file is unreadable or contradicts itself; UsageError for an alias of
    a model that there is not.
    """
    features = Features()
    in_context = PromptLearner(features)
    few_words = Features(SMALL_COLUMNS, pairs=False, characters=False)
    small: Learner = PromptLearner(few_words)
    large: Learner = in_context
    if settings.train:
        rows = read_records(settings.train, ("input", "target"))
        inputs, targets = [text for text, _ in rows], [target for _, target in rows]
        small, large = CentroidLearner(features), LinearLearner(features)
        small.fit(inputs, targets)
        large.fit(inputs, targets)
    models: dict[str, Model] = {
        "echo": _Echo(),
        "in-context": _Learned(in_context),
        "in-context-small": _Learned(PromptLearner(few_words)),
        "large": _Learned(large),
        "replay": _Replay(settings.replay),
        "small": _Learned(small),
        **make_judges(),
    }
    models |= {name + PRICED_SUFFIX: model for name, model in models.items()}
    for name, target in settings.aliases.items():
        if target not in models:
            raise UsageError(f"no model {target!r}", where=f"alias {name}", expected=", ".join(sorted(models)))
    return models | {name: models[target] for name, target in settings.aliases.items()}
