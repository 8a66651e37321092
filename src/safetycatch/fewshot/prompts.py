"""Prompt files and the chat messages made from them: instructions, then shots, then the query.

A template without an input field is the system message, and the query is the last user message. A template with one
(`{{ input }}` or a field of a JSON input) is the user message of the query, and every shot is a user turn made by the
same template. Shots are always turns before the query, so all that queries share comes first and providers' prompt
caches hit.
"""

from __future__ import annotations

import codecs
import difflib
import json
import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetycatch.configuration import near_file
from safetycatch.errors import DataError, ExperimentError
from safetycatch.fewshot.chats import chat_of
from safetycatch.fewshot.fences import FENCE_RULE, fence
from safetycatch.fewshot.template import Template, compile_template
from safetycatch.identity import text_sha256

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import pyarrow as pa

Message = dict[str, str]

MAX_PROMPT_BYTES = 256 * 1024
MAX_SHOTS_KEPT = 16_384  # rendered shots kept by one renderer
INPUT, LABELS = "input", "labels"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt file's text, known by its content: `variables` are the names it uses with their first line."""

    path: str
    text: str
    sha256: str
    variables: tuple[tuple[str, int], ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The input fields the text mentions; empty when it is a system message."""
        return tuple(name for name, _ in self.variables if name != LABELS)

    @property
    def uses_labels(self) -> bool:
        """Whether the text mentions `labels`."""
        return any(name == LABELS for name, _ in self.variables)


def load_prompt(path: str | Path, root: Path) -> Prompt:
    """Return the prompt file `path`, which lies inside the folder `root` (relative paths start there).

    Raises: ExperimentError when it is outside, missing, not a plain file, above 256 KiB, not UTF-8, empty, or no valid
    template. A link that leads out of `root` is outside.
    """
    where = str(path)
    if "\0" in where:
        raise ExperimentError("a path with a NUL character", where=repr(where))
    base = root.resolve()
    full = (base / path).resolve()
    if not full.is_relative_to(base) or full == base:
        raise ExperimentError(
            "the prompt lies outside the project", where=where, expected=f"a file below {base.name or base}/"
        )
    try:
        content = _read(full)
    except OSError as error:
        near = near_file(full) if isinstance(error, FileNotFoundError) else ""
        fix = Path(near).relative_to(base).as_posix() if near else ""
        raise ExperimentError(f"cannot read the prompt: {error.strerror}", where=where, fix=fix) from None
    if len(content) > MAX_PROMPT_BYTES:
        raise ExperimentError("the prompt is too large", where=where, expected=f"at most {MAX_PROMPT_BYTES:,} bytes")
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise ExperimentError(f"byte {error.start} is not UTF-8", where=where, fix="save the file as UTF-8") from None
    return make_prompt(text, full.relative_to(base).as_posix())


def _read(path: Path) -> bytes:
    # The path is resolved: a link found now was put there after the check. Without O_NONBLOCK a pipe would hang us.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(0, "not a plain file")
        return stream.read(MAX_PROMPT_BYTES + 1)


def make_prompt(text: str, path: str = "prompt") -> Prompt:
    """Return a prompt from its text; `path` is what errors call it. Raises: as `load_prompt`."""
    text = text.replace("\r\n", "\n").strip()
    if not text or "\0" in text:
        raise ExperimentError("the prompt is empty" if not text else "the prompt holds a NUL character", where=path)
    digest = text_sha256(text)
    return Prompt(path, text, digest, compile_template(text, path, digest, LABELS).variables)


def check_prompt(prompt: Prompt, fields: Collection[str], *, labels: bool) -> None:
    """Refuse a prompt that uses a name the data does not have; `fields` are those of the inputs (`fields_of`).

    Raises: ExperimentError naming file, line, variable and the nearest valid one.
    """
    valid = sorted({INPUT, *fields} | ({LABELS} if labels else set[str]()))
    for name, line in prompt.variables:
        if name in valid:
            continue
        where = f"{prompt.path}: line {line}"
        if name == LABELS:
            raise ExperimentError("`labels` is known for task: classify only", where=where, fix="write them out")
        near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
        raise ExperimentError(
            f"unknown variable `{name}`",
            where=where,
            expected=", ".join(valid),
            fix=f"{{{{ {near[0]} }}}}" if near else "",
        )


def fields_of(examples: pa.Table) -> tuple[str, ...]:
    """Return the named fields of the JSON inputs of `examples`, sorted; empty for text and messages."""
    rows = zip(examples["input"].to_pylist(), examples["input_kind"].to_pylist(), strict=True)
    found: set[str] = set()
    for text, kind in rows:
        value = json.loads(text) if kind == "json" else None
        if isinstance(value, dict):
            found.update(str(key) for key in value)
    return tuple(sorted(found))


def labels_of(examples: pa.Table) -> tuple[str, ...]:
    """Return the label vocabulary of `examples`: the distinct targets, sorted."""
    return tuple(sorted(set(examples["target"].to_pylist())))


def render(
    prompt: Prompt,
    example: Mapping[str, Any],
    shots: Iterable[Mapping[str, Any]] = (),
    *,
    labels: Sequence[str] = (),
    task: str = "classify",
) -> list[Message]:
    """Return the chat messages `{role, content}` of one query; `example` and `shots` are rows of `examples`.

    Shots are shown in the order given. Raises: ExperimentError for an unknown variable, DataError for a row that
    lacks a field or holds unusable messages.
    """
    return _renderer(prompt, tuple(labels) if task == "classify" else ()).messages(example, shots)


class _Renderer:
    """One prompt with one label vocabulary, compiled once; shots that come again are not rendered again."""

    def __init__(self, prompt: Prompt, labels: tuple[str, ...]) -> None:
        if prompt.uses_labels and not labels:
            check_prompt(prompt, prompt.fields, labels=False)
        self.prompt, self.labels = prompt, labels
        self._template: Template = compile_template(prompt.text, prompt.path, prompt.sha256, LABELS)
        self._shots: dict[tuple[str, str, str], tuple[Message, ...]] = {}
        self._instructions = "" if prompt.fields else self._template.render({LABELS: list(labels)})

    def messages(self, example: Mapping[str, Any], shots: Iterable[Mapping[str, Any]]) -> list[Message]:
        fenced = example["input_kind"] != "messages"
        system = "\n\n".join(part for part in (self._instructions, FENCE_RULE if fenced else "") if part)
        result: list[Message] = [{"role": "system", "content": system}] if system else []
        for shot in shots:
            result.extend(dict(turn) for turn in self._shot(shot))
        result.extend(self._turns(example))
        return result

    def _shot(self, shot: Mapping[str, Any]) -> tuple[Message, ...]:
        key = (shot["input_kind"], shot["input"], shot["target"])
        turns = self._shots.get(key)
        if turns is None:
            turns = (*self._turns(shot), {"role": "assistant", "content": shot["target"]})
            if len(self._shots) >= MAX_SHOTS_KEPT:
                self._shots.clear()
            self._shots[key] = turns
        return turns

    def _turns(self, row: Mapping[str, Any]) -> list[Message]:
        """Return the query part of a row: one user message, or the chat it holds."""
        kind, text = row["input_kind"], row["input"]
        if kind == "messages":
            if self.prompt.fields:
                name, line = next(item for item in self.prompt.variables if item[0] != LABELS)
                raise ExperimentError(
                    f"`{name}` has no meaning: the inputs are chats, which follow the prompt as they are",
                    where=f"{self.prompt.path}: line {line}",
                )
            return chat_of(text, f"{_place(row)}, column input")
        if not self.prompt.fields:
            return [{"role": "user", "content": fence(text, self.prompt.sha256)}]
        return [{"role": "user", "content": self._filled(text, kind, row)}]

    def _filled(self, text: str, kind: str, row: Mapping[str, Any]) -> str:
        from jinja2 import UndefinedError

        values: dict[str, Any] = {INPUT: text}
        if kind == "json":
            value = json.loads(text)
            values |= value if isinstance(value, dict) else {}
            if LABELS in values:
                raise DataError("an input field is called `labels`", where=_place(row), fix="rename the column")
        try:
            return self._template.render({**values, LABELS: list(self.labels)})
        except UndefinedError as error:
            check_prompt(self.prompt, values, labels=bool(self.labels))
            raise DataError(f"{self.prompt.path}: {error.message}", where=_place(row)) from None


@lru_cache(maxsize=64)
def _renderer(prompt: Prompt, labels: tuple[str, ...]) -> _Renderer:
    return _Renderer(prompt, labels)


def _place(row: Mapping[str, Any]) -> str:
    return f"example {row.get('example_id', '?')}"
