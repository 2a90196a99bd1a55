"""Groups of options: a command takes them as one dataclass, Typer sees each field as an option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from typing import Any, get_type_hints


def spread(command: Callable[..., int]) -> Callable[..., int]:
    """The command with every dataclass among its parameters replaced by the fields of that dataclass, in their place.

    Fields carry their help as `Annotated[type, typer.Option(...)]`, and their defaults as usual.
    """
    groups: dict[str, Any] = {name: kind for name, kind in get_type_hints(command).items() if is_dataclass(kind)}
    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        group = groups.get(parameter.name)
        hints = get_type_hints(group or command, include_extras=True)
        for one in signature(group).parameters.values() if group else [parameter]:
            parameters.append(one.replace(annotation=hints[one.name], kind=Parameter.KEYWORD_ONLY))

    @wraps(command)
    def spread_out(**values: Any) -> int:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return command(**values)

    spread_out.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
    return spread_out
