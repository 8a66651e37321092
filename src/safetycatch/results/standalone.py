"""Source that stands alone: chosen definitions of ours with all they call, as one text that imports nothing of ours."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from safetycatch.errors import SafetycatchError

OURS = "safetycatch"


@dataclass(frozen=True, slots=True)
class Standalone:
    """`imports` of the standard library, sorted, and the `definitions`, each before those that come to use it."""

    imports: tuple[str, ...]
    definitions: str


@dataclass(slots=True)
class _Module:
    lines: list[str]
    definitions: dict[str, ast.stmt] = field(default_factory=dict[str, ast.stmt])
    imports: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])


def standalone(roots: list[tuple[str, str]], given: frozenset[str]) -> Standalone:
    """Return the source of `roots`, pairs of module and name, and of everything of ours that they refer to.

    `given` are names that the text round it defines instead. A definition keeps its own lines, comments above it too.
    Raises: SafetycatchError where it could not stand alone: a name defined twice, or an import of another package.
    """
    taken: dict[tuple[str, str], str] = {}
    imports: set[str] = set()

    def take(module: str, name: str) -> None:
        if (module, name) in taken or name in given:
            return
        own = _module(module)
        if name in own.imports:
            origin, item = own.imports[name]
            if origin.partition(".")[0] == OURS:
                take(origin, item)
            elif origin.partition(".")[0] in sys.stdlib_module_names:
                imports.add(f"from {origin} import {item}" if item else f"import {origin}")
            return
        node = own.definitions.get(name)
        if node is None:
            return  # a builtin, an argument, or a name of a package that only annotations use
        if any(known == name for _, known in taken):
            raise SafetycatchError(f"two definitions of {name}, one in {module}: they cannot stand in one file")
        taken[module, name] = _source(own, node)
        for used in _names(node, module):
            take(module, used)

    for module, name in roots:
        take(module, name)
    # What is called comes first: modules are met before those that they import.
    modules = list(dict.fromkeys(module for module, _ in taken))[::-1]
    order = sorted(taken, key=lambda one: (modules.index(one[0]), _module(one[0]).definitions[one[1]].lineno))
    return Standalone(_grouped(imports), _joined([taken[one] for one in order]))


def _grouped(imports: set[str]) -> tuple[str, ...]:
    """Return import lines, sorted, one a module."""
    named: dict[str, list[str]] = {}
    for line in sorted(imports):
        module, _, item = line.removeprefix("from ").partition(" import ")
        named.setdefault(module, []).append(item)
    whole = [line for line, items in named.items() if items == [""]]
    parts = [f"from {module} import {', '.join(items)}" for module, items in named.items() if items != [""]]
    return (*whole, *parts)


def _joined(texts: list[str]) -> str:
    """Return definitions with two blank lines round functions and classes, and none between constants."""
    joined = ""
    for text in dict.fromkeys(texts):
        block = text.lstrip().startswith(("def ", "class ", "@"))
        gap = "\n\n\n" if block or joined.rstrip("\n").rpartition("\n")[2].startswith((" ", "\t")) else "\n"
        joined = f"{joined}{gap}{text}" if joined else text
    return joined + "\n"


@lru_cache(maxsize=64)
def _module(name: str) -> _Module:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SafetycatchError(f"the source of {name} is not there: install safetycatch again")
    text = Path(spec.origin).read_text(encoding="utf-8")
    made = _Module(text.split("\n"))
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            made.definitions[node.name] = node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                for one in ast.walk(target):
                    if isinstance(one, ast.Name):
                        made.definitions[one.id] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            made.definitions[node.target.id] = node
        for one in node.body if isinstance(node, ast.If) else [node]:
            if isinstance(one, ast.ImportFrom) and one.module and one.module != "__future__":
                made.imports.update({alias.asname or alias.name: (one.module, alias.name) for alias in one.names})
            elif isinstance(one, ast.Import):
                made.imports.update({alias.asname or alias.name: (alias.name, "") for alias in one.names})
    return made


def _source(own: _Module, node: ast.stmt) -> str:
    """Return the lines of a definition with its decorators and the comments right above."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    start = min([node.lineno, *(one.lineno for one in decorators)]) - 1
    while start and own.lines[start - 1].startswith("#"):
        start -= 1
    return "\n".join(own.lines[start : node.end_lineno])


def _names(node: ast.stmt, module: str) -> list[str]:
    for inner in ast.walk(node):
        imported = inner.module or "" if isinstance(inner, ast.ImportFrom) else ""
        if isinstance(inner, ast.Import):
            imported = inner.names[0].name
        if imported and imported.partition(".")[0] not in sys.stdlib_module_names:
            raise SafetycatchError(f"{module} imports {imported} where it must stand alone")
    return list(dict.fromkeys(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)))
