"""A prompt as plain text with gaps: what its template says once the labels are known, and where a row's fields stand.

The template is rendered with the labels and, for each field of the row, a stand-in that can only be shown, or asked
for a part of itself. Loops and conditions over labels are thereby done; a template that looks at a field to decide
anything cannot be flattened.
"""

from __future__ import annotations

import re
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

from safetycatch.errors import ExperimentError
from safetycatch.fewshot.fences import fence
from safetycatch.fewshot.plain import shown
from safetycatch.fewshot.prompts import INPUT, LABELS
from safetycatch.fewshot.template import FENCE_FILTER, compile_template, environment
from safetycatch.identity import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jinja2.sandbox import SandboxedEnvironment

    from safetycatch.fewshot.prompts import Prompt

# Text, or the way to a field: its name, then keys and positions inside it.
Part = str | list[str | int]


class _Decides(Exception):  # noqa: N818 - not an error of the caller: the template looks at the row
    pass


class _Field:
    """Stands for a field of the row."""

    def __init__(self, path: list[str | int]) -> None:
        self._path = path

    def __getitem__(self, key: Any) -> _Field:
        # A name that dicts have themselves is not looked up in the row.
        if type(key) not in (str, int) or (isinstance(key, str) and hasattr(dict, key)):
            self._look()
        return _Field([*self._path, key])

    def _look(self, *_: object) -> NoReturn:
        raise _Decides(".".join(map(str, self._path)))

    __str__ = __repr__ = __iter__ = __len__ = __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _look
    __hash__ = __contains__ = __add__ = __radd__ = __sub__ = __rsub__ = __neg__ = __int__ = __float__ = _look
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __call__ = __html__ = _look


def flatten(prompt: Prompt, labels: Sequence[str]) -> list[Part]:
    """Return the parts of a prompt in order, the first and last without blanks at the ends.

    Raises: ExperimentError when what the prompt says, not only shows, depends on the row.
    """
    mark = f"field-{fingerprint(prompt.text, list(labels))[:24]}"
    fields: list[list[str | int]] = []

    def shown_or_marked(value: Any, key: str) -> str:
        if not isinstance(value, _Field):
            return fence(shown(value), key)
        # A public name would be one that templates can ask for.
        fields.append(value._path)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return f"<{mark}-{len(fields) - 1}>"

    template = compile_template(prompt.text, prompt.path, prompt.sha256, LABELS, _watching(shown_or_marked))
    values: dict[str, Any] = {name: _Field([name]) for name in prompt.fields}
    try:
        text = template.render({**values, LABELS: list(labels)})
    except _Decides as found:
        lines = dict(prompt.variables)
        name = str(found).partition(".")[0]
        raise ExperimentError(
            f"what the prompt says depends on `{found}` of the row",
            where=f"{prompt.path}: line {lines.get(name, 1)}",
            expected=f"fields that are only shown, as in {{{{ {name or INPUT} }}}}; loops and conditions over labels",
            fix="prepare the field in the data, then run again",
        ) from None
    pieces = re.split(rf"<{mark}-(\d+)>", text)
    parts: list[Part] = [
        fields[int(piece)] if number % 2 else piece for number, piece in enumerate(pieces) if number % 2 or piece
    ]
    return parts


def _watching(output: Callable[[Any, str], str]) -> SandboxedEnvironment:
    """Return an environment in which no filter and no test sees a field."""
    made: Any = environment().overlay()

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            for value in (*arguments, *named.values()):
                if isinstance(value, _Field):
                    bool(value)
            return function(*arguments, **named)

        return call

    made.filters = {name: guarded(function) for name, function in made.filters.items()} | {FENCE_FILTER: output}
    made.tests = {name: guarded(function) for name, function in made.tests.items()}
    return made
