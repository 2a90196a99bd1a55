"""Words for users: names that a terminal can show, messages of one line, numbers with their nouns."""

from __future__ import annotations

import re
from collections.abc import Sequence

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What moves a cursor, ends a line, or turns the direction of writing."""

BYTES = re.compile("[\ud800-\udfff]")
"""How Python keeps the bytes of a name that is no UTF-8."""

SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def printable(text: str, keep_bytes: bool = False) -> str:
    r"""The text with control characters as `\n`, `\x1b`, `\u202e`: a file may be called anything.

    keep_bytes: leave bytes that are no UTF-8 as they came, for programs that read the names; else they become `\xe9`.
    """
    text = CONTROLS.sub(_escape, text)
    return text if keep_bytes else BYTES.sub(_escape, text)


def one_line(message: str) -> str:
    """A message of several lines in one, printable."""
    return printable(re.sub(r"\s*[\r\n]\s*", " ", message.strip()))


def plural(number: int, noun: str) -> str:
    """`1 image`, `1,200 images`, `2 patches`."""
    ending = "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def listed(names: Sequence[str], most: int) -> str:
    """`a, b and 3 more`: at most so many names."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def brief(error: BaseException, most: int = 200) -> str:
    """What an error says, in one line of at most so many letters."""
    said = error.args[0].decode("utf-8", "replace") if error.args and isinstance(error.args[0], bytes) else str(error)
    return " ".join(said.split())[:most] or type(error).__name__
