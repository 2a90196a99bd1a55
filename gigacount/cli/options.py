"""The command line is made of option dataclasses: `spread` offers their fields to Typer, and makes them of the answer.

A command takes option dataclasses as parameters, and options of its own.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import wraps
from inspect import Parameter
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from gigacount.errors import UnknownNameError, UsageError
from gigacount.options import BatchOptions, CountOptions
from gigacount.options.option import (
    EXPERTS,
    MANY,
    NETWORK,
    OUTPUT,
    Option,
    option,
    parse_names,
    parse_number,
    parse_size,
    parse_whole,
)

T = TypeVar("T", bound=Callable[..., Any])
METAVARS = {int: "N", float: "NUMBER", Path: "PATH", str: "TEXT"}
PARSERS = {int: parse_whole, float: parse_number}
Values = dict[str, Any]
Callbacks = dict[str, Callable[[Any], Any]]

Quiet = Annotated[bool, Option("Print no progress and no messages.", "-q", panel=OUTPUT)]
AsJson = Annotated[bool, Option("Print one JSON object.", "--json", panel=OUTPUT)]
Data = Annotated[str, Option("A labelled data set, such as csv:photos.", metavar="NAME:PATH")]
MinScore = Annotated[
    float | None,
    Option("Leave out heads below this score, 0 to 1. Default: the network's threshold.", panel=NETWORK),
]
NetworkArgument = Annotated[str, typer.Argument(metavar="NETWORK", help="Name of shipped weights, or a record's path.")]


class FlagsWithoutType:
    """For commands: nothing stands for the value of a flag in the help, as it has none; Typer writes `<bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_bool_flag", False):
                param.metavar = ""
        return params


class Command(FlagsWithoutType, TyperCommand):
    pass


class Group(FlagsWithoutType, TyperGroup):
    pass


class App(typer.Typer):
    """A group of commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=Group, **settings)

    def command(self, name: str | None = None) -> Callable[[T], T]:  # type: ignore[override]
        return super().command(name, cls=Command)


@dataclass(frozen=True)
class Counting:
    """All that decides a count."""

    counting: CountOptions
    depth: int | None = option(
        None, "RAZ-Net's depth: 1 looks once, each more zooms into crowds again. Same as --set depth=N.", panel=EXPERTS
    )

    def options(self) -> CountOptions:
        depth = () if self.depth is None else (f"depth={self.depth}",)
        return replace(self.counting, settings=self.counting.settings + depth)


@dataclass(frozen=True)
class Many:
    """How many images are worked through."""

    batch: BatchOptions
    fail_fast: bool = option(False, "Stop at the first image that fails.", panel=MANY)

    def options(self, out: Path | None) -> BatchOptions:
        return replace(self.batch, out=out, max_failures=1 if self.fail_fast else self.batch.max_failures)


def spread(command: Callable[..., int], **callbacks: Callable[[Any], Any]) -> Callable[..., int]:
    """The command with its option dataclasses replaced by their options, in their place. callbacks: by option."""
    parameters = inspect.signature(command).parameters.values()
    hints = get_type_hints(command, include_extras=True)
    members = {one.name: offer(Declared.of(one.name, hints[one.name], one.default), callbacks) for one in parameters}

    @wraps(command)
    def spread_out(**values: Any) -> int:
        return command(**{name: member.make(values) for name, member in members.items()})

    offered = [parameter for member in members.values() for parameter in member.parameters]
    offered.sort(key=lambda parameter: get_args(parameter.annotation)[-1].rich_help_panel == EXPERTS)
    spread_out.__signature__ = inspect.signature(command).replace(parameters=offered)  # type: ignore[attr-defined]
    spread_out.__doc__ = reflowed(command.__doc__ or "")
    return spread_out


@dataclass(frozen=True)
class Declared:
    """A field or parameter as it stands in the source. only: of a group, the names of the fields that are offered."""

    name: str
    hint: Any
    kind: Any
    optional: bool
    default: Any
    option: Option | None
    only: tuple[str, ...] | None

    @classmethod
    def of(cls, name: str, hint: Any, default: Any) -> Declared:
        """default: `inspect.Parameter.empty` for none, or a dataclass field, as `option` makes it."""
        kind, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
        if isinstance(default, Field):
            extras.append(default.metadata.get("option"))
            default = Parameter.empty if default.default is MISSING else default.default
        found = {type(extra): extra for extra in extras}
        plain = next(part for part in parts if part is not type(None))
        return cls(name, hint, plain, type(None) in parts, default, found.get(Option), found.get(tuple))


@dataclass(frozen=True)
class Member:
    """A field on the command line: its parameters, and what makes the field's value of theirs."""

    parameters: list[Parameter]
    make: Callable[[Values], Any]


def offer(declared: Declared, callbacks: Callbacks, panel: str = "", in_optional: bool = False) -> Member:
    """An option, a group of them, or what Typer knows itself. in_optional: in a group that may not be wanted at all."""
    if is_dataclass(declared.kind):
        return group(declared, callbacks)
    name, option, default = declared.name, declared.option, declared.default
    if option is None:
        parameter = Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=declared.hint)
        return Member([parameter], lambda values: values[name])
    names = option.names(name)
    key = names[0].partition("/")[0].strip("-").replace("-", "_")
    key += "_" if iskeyword(key) else ""
    parse = option.parse or PARSERS.get(declared.kind)
    several = get_origin(declared.kind) is tuple and parse is None
    negated = default is True and "/" not in names[0]
    if in_optional and default is Parameter.empty:
        default = None
    elif parse:
        default = as_text(default, parse)
    elif several and default is not Parameter.empty:
        default = list(default) or None
    elif negated:
        default = False
    shown: Any = str if parse else list[str] if several else declared.kind
    about = typer.Option(
        *names,
        help=option.help,
        metavar=option.metavar or METAVARS.get(declared.kind, "TEXT"),
        rich_help_panel=option.panel or panel or None,
        callback=callbacks.get(name),
        is_eager=name in callbacks,
    )
    annotation: Any = Annotated[shown | None if default is None else shown, about]

    def make(values: Values) -> Any:
        value = values[key]
        if several:
            return tuple(value or ())
        if parse:
            try:
                return declared.default if value is None else parse(value)
            except UsageError as error:
                raise UsageError(f"{names[0]} {error}") from error
        return not value if negated else value

    return Member([Parameter(key, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)], make)


def group(declared: Declared, callbacks: Callbacks) -> Member:
    """The fields of a dataclass that are options. Of an optional one, the first option says whether it is wanted."""
    kind, hints = declared.kind, get_type_hints(declared.kind, include_extras=True)
    members: dict[str, Member] = {}
    for field in fields(kind):
        inner = Declared.of(field.name, hints[field.name], field)
        if (inner.option or is_dataclass(inner.kind)) and field.name in (declared.only or (field.name,)):
            member = offer(inner, callbacks, getattr(kind, "PANEL", ""), declared.optional)
            if member.parameters:
                members[field.name] = member
    parameters = [parameter for member in members.values() for parameter in member.parameters]

    def make(values: Values) -> Any:
        if declared.optional and parameters and values[parameters[0].name] is None:
            for parameter in parameters[1:]:
                if values[parameter.name] != parameter.default:
                    mine, first = (one.name.replace("_", "-") for one in (parameter, parameters[0]))
                    raise UsageError(f"--{mine} needs --{first}, which is missing")
            return None
        return kind(**{name: member.make(values) for name, member in members.items()})

    return Member(parameters, make)


def reflowed(text: str) -> str:
    """A docstring with each paragraph in a line, as Typer wraps lines itself; indented ones, as of examples, stay."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(one if one.startswith(" ") else one.replace("\n", " ") for one in paragraphs)


def as_text(value: Any, parse: Callable[[str], Any]) -> Any:
    """The default of an option whose values are parsed, as it would be typed."""
    if isinstance(value, int | float):
        return str(value)
    if not value or value is Parameter.empty:
        return value or None
    if parse is parse_size:
        return "x".join(map(str, value))
    if parse is parse_names:
        return ",".join(value)
    if all(isinstance(number, float) for number in value):
        return ",".join(f"{number:g}" if number >= 1 else f"1/{1 / number:g}" for number in value)
    return None


def parse_choices(text: str, kind: str, choices: Collection[str]) -> tuple[str, ...]:
    """`json,tif` -> ("json", "tif"); every one must be among `choices`."""
    names = parse_names(text)
    for name in names:
        if name not in choices:
            raise UnknownNameError(kind, name, choices)
    return names
