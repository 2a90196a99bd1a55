"""Write docs/reference/commands.md from the commands' own help; a test checks that it has not drifted."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb", _TYPER_FORCE_DISABLE_TERMINAL="1")

import typer
from typer.testing import CliRunner

from gigacount.cli import app

TARGET = Path(__file__).parent / "reference" / "commands.md"


def commands_page() -> str:
    """The page: one section a command, its help as printed."""
    runner = CliRunner()
    parts = [
        "# Commands\n\nMade by `make docs` from the commands' own help.\n",
        "Answers go to standard output, everything else to standard error. Exit status: 0 all well, 1 an image",
        "failed, 2 wrong usage, 130 stopped with Ctrl-C. `--debug`, anywhere, shows the traceback of an error.\n",
    ]
    for words in command_words():
        text = runner.invoke(app, [*words, "--help"], prog_name="gigacount").output
        lines = [line.rstrip() for line in text.strip().splitlines()]
        parts.append(f"## gigacount {' '.join(words)}\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


def command_words() -> list[tuple[str, ...]]:
    """("count",), ("data", "check"), ...: every command, in the order of the help page."""
    found: list[tuple[str, ...]] = []

    def walk(command: object, words: tuple[str, ...]) -> None:
        children = getattr(command, "commands", None)
        if children is None:
            found.append(words)
            return
        if getattr(command, "invoke_without_command", False) and words:
            found.append(words)
        for name, child in children.items():
            walk(child, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


if __name__ == "__main__":
    TARGET.write_text(commands_page(), encoding="utf-8")
