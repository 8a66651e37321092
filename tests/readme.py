"""The README's generated tables: `python tests/readme.py` writes them, a test checks that they are current."""

from __future__ import annotations

import re
from pathlib import Path

import typer

README = Path(__file__).parents[1] / "README.md"


def verbs() -> str:
    """Return the commands with the first line of their help, in the order of `safetycatch --help`."""
    from safetycatch.cli.main import app

    commands = typer.main.get_command(app).commands.items()
    rows = [f"| `{name}` | {(command.help or '').partition(chr(10))[0]} |" for name, command in commands]
    return "\n".join(["| command | does |", "|---|---|", *rows])


def catches() -> str:
    from safetycatch.catches.catalogue import markdown_table

    return markdown_table()


def current(text: str) -> str:
    """Return the README's text with fresh tables."""
    for name, table in (("verbs", verbs()), ("catches", catches())):
        text, n = re.subn(
            rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)", rf"\g<1>{_escaped(table)}\n\2", text, flags=re.DOTALL
        )
        if n != 1:
            raise SystemExit(f"{README}: {n} blocks '<!-- {name}: … --> … <!-- end -->', expected one")
    return text


def _escaped(table: str) -> str:
    return table.replace("\\", r"\\")


if __name__ == "__main__":
    README.write_text(current(README.read_text(encoding="utf-8")), encoding="utf-8")
