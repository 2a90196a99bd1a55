"""Settings of a network's constructor as a user writes them: `batch_norm=true`, `configuration=A`, `k=3`."""

from __future__ import annotations

import inspect
import math
import tomllib
from collections.abc import Iterable, Mapping
from types import MappingProxyType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gigacount.errors import UsageError
from gigacount.networks import find_class
from gigacount.text import printable

RAZ_NET = "raz-net"
KINDS = {bool: "true or false", int: "a whole number, 0 or more", float: "a number above 0", str: "text"}


def read_settings(
    network: str, pairs: Iterable[str], beside: Mapping[str, object] = MappingProxyType({})
) -> dict[str, object]:
    """NAME=VALUE pairs, values as in TOML, as arguments of the constructor of `network`.

    beside: the settings that it has already. Raises UsageError for what does not fit, or would do nothing beside them.
    """
    given: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"a setting is NAME=VALUE, not '{printable(pair):.60}'")
        given[name] = text
    hints = get_type_hints(find_class(network, given).__init__)
    settings: dict[str, object] = {}
    for name, text in given.items():
        fitting = [one for one in (parse(text), text) if fits(one, hints[name])]
        if not fitting:
            raise UsageError(
                f"setting '{name}' of network '{network}' is {wanted(hints[name])}, not '{printable(text):.60}'"
            )
        settings[name] = fitting[0]
    require_effect(network, settings, {**beside, **settings})
    return settings


def require_effect(network: str, given: Iterable[str], settings: Mapping[str, object]) -> None:
    """Raise UsageError where a setting that was given does nothing beside the others."""
    kind = find_class(network)
    parameters = inspect.signature(kind).parameters
    for name in given:
        other, values = kind.only_with.get(name, (name, ()))
        if values and settings.get(other, parameters[other].default) not in values:
            needed = " or ".join(f"{other}={value}" for value in values)
            raise UsageError(f"setting '{name}' of network '{network}' does nothing without {needed}")


def settings_in_use(
    network: str, pairs: Iterable[str], beside: Mapping[str, object] = MappingProxyType({})
) -> tuple[dict[str, object], bool]:
    """What `read_settings` gives of a network that counts, and whether its density is fused with its heads.

    `fuse` is a setting of all networks but RAZ-Net, which has its `streams`: eq. 4 of its paper on what they locate.
    """
    pairs = list(pairs)
    fuse = [pair.partition("=")[2] for pair in pairs if pair.startswith("fuse=") and network != RAZ_NET]
    others = [pair for pair in pairs if not pair.startswith("fuse=") or network == RAZ_NET]
    for text in fuse:
        if text not in ("true", "false"):
            raise UsageError(f"setting 'fuse' of network '{network}' is {KINDS[bool]}, not '{text}'")
    return (read_settings(network, others, beside) if others else {}), fuse[-1:] == ["true"]


def parse(text: str) -> object:
    """A value of TOML, or else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def fits(value: object, hint: Any) -> bool:
    origin, choices = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, choice) for choice in choices)
    if origin is Literal:
        return value in choices
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(choices) and all(map(fits, value, choices))
    if hint is float:
        return type(value) in (float, int) and 0 < value < math.inf  # type: ignore[operator]
    return type(value) is hint and (hint is not int or value >= 0)  # type: ignore[operator]


def wanted(hint: Any) -> str:
    """What fits, in words."""
    origin, choices = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(wanted(choice) for choice in choices if choice is not type(None))
    if origin is Literal:
        return " or ".join(f"'{choice}'" for choice in choices)
    if origin is tuple:
        return f"[{', '.join(wanted(choice) for choice in choices)}]"
    return KINDS[hint]
