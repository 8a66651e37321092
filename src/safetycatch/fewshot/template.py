"""The small part of Jinja that prompts may use: output, `if`, `for` and harmless filters; data is fenced on output.

A prompt file may come from anywhere, so nothing in it can call a function, read a file or reach an attribute of
Python. What it can still do is take long: bounded only by the size of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from safetycatch.errors import ExperimentError
from safetycatch.fewshot.fences import fence
from safetycatch.fewshot.plain import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

FILTERS = (  # noqa: SIM905 - words read better in a line
    "capitalize count d default first float int join last length list lower reverse round sort string title trim "
    "truncate unique upper wordcount"
).split()
ALLOWED_NODES = frozenset(
    (  # noqa: SIM905 - as above
        "Template Output TemplateData If For Name Const Getattr Getitem Slice Filter Test Compare Operand And Or Not "
        "CondExpr Keyword Tuple List Dict Pair Neg Pos Add Sub Div FloorDiv Concat"
    ).split()
)
# `loop.previtem` and `loop.nextitem` hand out data, these hand out positions.
LOOP_POSITIONS = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0"})
FENCE_FILTER = "fenced"


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled prompt: `variables` are the names it reads from outside with their first line, in order of line."""

    render: Callable[[dict[str, Any]], str]
    variables: tuple[tuple[str, int], ...]


def compile_template(
    text: str, where: str, key: str, trusted: str, within: SandboxedEnvironment | None = None
) -> Template:
    """Return `text` compiled; what it shows is fenced with `key` unless it is made from the variable `trusted` alone.

    `within` is an environment whose fence is another one.

    Raises: ExperimentError naming the line of a syntax error or of anything beyond output, `if`, `for` and filters.
    """
    from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError, meta, nodes

    own = environment() if within is None else within
    try:
        tree = own.parse(text)
    except TemplateSyntaxError as error:
        raise ExperimentError(str(error.message), where=f"{where}: line {error.lineno}") from None
    for node in tree.find_all(nodes.Node):
        if refused := _refused(node, own):
            raise ExperimentError(
                f"`{refused}` is not available in a prompt",
                where=f"{where}: line {node.lineno}",
                expected="{{ output }}, if, for, and the filters " + ", ".join(FILTERS),
            )
    outside = meta.find_undeclared_variables(tree)
    _fence_outputs(tree, _safe_names(tree, outside, trusted), key)
    compiled = own.from_string(tree)
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        if node.name in outside:
            lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))

    def render(values: dict[str, Any]) -> str:
        try:
            return compiled.render(values).strip()
        except UndefinedError:
            raise
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise ExperimentError(f"the prompt cannot be filled: {error}", where=where) from None

    return Template(render, tuple(sorted(lines.items(), key=lambda item: (item[1], item[0]))))


def _refused(node: nodes.Node, own: SandboxedEnvironment) -> str:
    """Return what a prompt may not use, or nothing."""
    from jinja2 import nodes

    name = type(node).__name__
    if name not in ALLOWED_NODES or (isinstance(node, nodes.For) and node.recursive):
        return name.lower()
    if isinstance(node, nodes.Filter):
        return "" if node.name in FILTERS else node.name
    if isinstance(node, nodes.Test):
        return "" if node.name in own.tests else node.name
    if isinstance(node, nodes.Getattr):
        return node.attr if node.attr.startswith("_") else ""
    return ""


@lru_cache(maxsize=1)
def environment() -> SandboxedEnvironment:
    """Return what templates are compiled and rendered in."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    made = SandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the output is a chat message, not HTML; data is fenced instead
    )
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in FILTERS}
    made.filters[FENCE_FILTER] = lambda value, key: fence(shown(value), key)
    return made


def _sources(node: nodes.Node) -> set[str]:
    """Return the names an expression's value can come from."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name == "loop":
        return set() if node.attr in LOOP_POSITIONS else {"loop"}
    if isinstance(node, nodes.Name):
        return {node.name}
    return set[str]().union(*(_sources(child) for child in node.iter_child_nodes()))


def _safe_names(tree: nodes.Template, outside: set[str], trusted: str) -> set[str]:
    """Return the names that hold nothing but parts of the variable `trusted`, wherever they are bound."""
    from jinja2 import nodes

    bindings = [(_sources(loop.target), _sources(loop.iter)) for loop in tree.find_all(nodes.For)]
    safe = {trusted}.union(*(targets for targets, _ in bindings)) - (outside - {trusted}) - {"loop"}
    while True:
        tainted = {name for targets, origins in bindings if not origins <= safe for name in targets}
        if not tainted & safe:
            return safe
        safe -= tainted


def _fence_outputs(tree: nodes.Template, safe: set[str], key: str) -> None:
    from jinja2 import nodes

    for output in tree.find_all(nodes.Output):
        output.nodes = [
            node
            if isinstance(node, nodes.TemplateData) or _sources(node) <= safe
            else nodes.Filter(node, FENCE_FILTER, [nodes.Const(key)], [], None, None, lineno=node.lineno)
            for node in output.nodes
        ]
