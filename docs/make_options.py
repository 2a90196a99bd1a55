"""Write docs/reference/options.md from the option dataclasses; a test checks that it has not drifted."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from gigacount.options import batch, count, research
from gigacount.options.option import Option

TARGET = Path(__file__).parent / "reference" / "options.md"


def options_page() -> str:
    """The page: a section for each dataclass, a line for each field."""
    parts = [
        "# Options\n\nMade by `make docs` from the dataclasses of `gigacount.options`. Python takes them, and the",
        "command line is made of them; [commands](commands.md) shows which command takes which.\n",
    ]
    for kind in option_classes():
        about = "\n\n".join(" ".join(text.split()) for text in inspect.cleandoc(kind.__doc__ or "").split("\n\n"))
        hints = get_type_hints(kind, include_extras=True)
        rows = "\n".join(row(field, hints[field.name]) for field in fields(kind))
        parts.append(f"## {kind.__name__}\n\n{about}\n\n| field | option | default | |\n|---|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def option_classes() -> Iterator[type[Any]]:
    """In the order of their modules."""
    for module in (count, batch, research):
        for kind in vars(module).values():
            if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module.__name__:
                yield kind


def row(field: Field[Any], hint: Any) -> str:
    """A field: its name, its option on the command line, its default, its help."""
    annotations = getattr(hint, "__metadata__", ())
    found = [one for one in (field.metadata.get("option"), *annotations) if isinstance(one, Option)]
    names, about = "", ""
    if found:
        given = found[0].name.split()
        given += [] if any(name.startswith("--") for name in given) else [f"--{field.name.replace('_', '-')}"]
        names, about = " ".join(f"`{name}`" for name in given), found[0].help.replace("|", "\\|")
    inner = next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind) and kind in option_classes()), None)
    if inner is not None:
        about = f"see [{inner.__name__}](#{inner.__name__.lower()})"
    return f"| `{field.name}` | {names} | {default_of(field)} | {about} |"


def default_of(field: Field[Any]) -> str:
    """As in Python; of a group, nothing: its fields have their own."""
    if field.default_factory is not MISSING or is_dataclass(field.default):
        return ""
    return "required" if field.default is MISSING else f"`{field.default!r}`"


if __name__ == "__main__":
    TARGET.write_text(options_page(), encoding="utf-8")
