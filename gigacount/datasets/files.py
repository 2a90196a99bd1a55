"""Label files read, with one line that names file and line when one is malformed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gigacount.datasets.entries import BAD_LABELS, Heads
from gigacount.datasets.matlab import MOST_BYTES, MatlabError, read_matlab
from gigacount.errors import EntryError

MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


def bad(path: Path, problem: str, line: int | None = None) -> EntryError:
    """The error of a label file that cannot be used."""
    return EntryError(BAD_LABELS, f"{path}{'' if line is None else f', line {line}'}: {problem}")


def parse_content(path: Path, content: Any, parse: Callable[[Any], Heads]) -> Heads:
    """`parse(content)`, where content that is not as expected becomes the file's EntryError."""
    try:
        return parse(content)
    except KeyError as error:
        raise bad(path, f"there is no {error} in it") from error
    except MALFORMED as error:
        raise bad(path, f"not in the expected form ({error})") from error


def load_json(path: Path) -> Any:
    """The content of a JSON file."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise bad(path, f"not JSON ({error.msg} at column {error.colno})", error.lineno) from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond what Python takes
        raise bad(path, f"not JSON that can be read ({error})") from error


def load_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file up to version 7, as `read_matlab` gives them."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise bad(path, f"larger than {MOST_BYTES >> 20} MiB, which no labels are")
        return read_matlab(content)
    except MatlabError as error:
        raise bad(path, f"not a MATLAB file that can be read ({error})") from error
    except OSError as error:
        raise bad(path, f"cannot be read ({error.strerror})") from error


def read_text(path: Path) -> str:
    """A text file as UTF-8, with or without a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad(path, f"not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise bad(path, f"cannot be read ({error.strerror})") from error


def number_lines(path: Path, columns: int) -> Iterator[list[float]]:
    """The first `columns` numbers of each line that is not blank; EntryError names the line that has fewer."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(word) for word in words[:columns]]
        except ValueError as error:
            raise bad(path, f"'{line.strip()[:40]}' is not {columns} numbers", number) from error
        if len(values) < columns:
            raise bad(path, f"{len(values)} numbers instead of {columns}", number)
        yield values
