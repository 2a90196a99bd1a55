"""The doors to label files: each turns whatever a parser raises into one line that names the file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np

from gigacount.datasets.entries import BAD_LABELS, LabelledHeads, shown
from gigacount.datasets.matlab import MAX_BYTES, MatlabError, read_matlab
from gigacount.errors import EntryError

PARSING = (ArithmeticError, AttributeError, LookupError, RecursionError, SyntaxError, TypeError, ValueError, csv.Error)
"""What parsers raise, and what reading their values as labels raises: numbers beyond Python's, encodings, nesting."""


def bad(path: Path, problem: str, line: int | None = None) -> EntryError:
    return EntryError(BAD_LABELS, f"{path}{'' if line is None else f', line {line}'}: {shown(problem, 400)}")


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Raise the file's EntryError for whatever a parser raises inside."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is found where samples are made
            yield
    except OSError as error:
        raise bad(path, f"cannot be read ({error.strerror or error})") from error
    except json.JSONDecodeError as error:
        raise bad(path, f"not JSON ({error.msg} at column {error.colno})", error.lineno) from error
    except UnicodeDecodeError as error:
        raise bad(path, f"not UTF-8 text (byte {error.start})") from error
    except ParseError as error:
        raise bad(path, f"not XML ({error})", error.position[0]) from error
    except KeyError as error:
        raise bad(path, f"there is no {error} in it") from error
    except PARSING as error:
        raise bad(path, f"not in the expected form ({shown(error)})") from error


def parse_content(path: Path, content: Any, parse: Callable[[Any], LabelledHeads]) -> LabelledHeads:
    with guarded(path):
        return parse(content)


def read_text(path: Path) -> str:
    with guarded(path):
        return path.read_text(encoding="utf-8-sig")


def load_json(path: Path) -> Any:
    with guarded(path):
        return json.loads(read_text(path))


def load_xml(path: Path) -> Element:
    """The root of an XML file; entities and external references are refused."""
    from defusedxml.ElementTree import parse

    with guarded(path):
        root: Element | None = parse(path).getroot()
        if root is None:
            raise ValueError("no element")
        return root


def load_yaml(path: Path) -> Any:
    import yaml

    with guarded(path):
        try:
            return yaml.safe_load(read_text(path))
        except yaml.YAMLError as error:
            raise ValueError(f"not YAML: {error}") from error


def load_mat(path: Path) -> dict[str, Any]:
    with guarded(path):
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise bad(path, f"larger than {MAX_BYTES >> 20} MiB, which no labels are")
        try:
            return read_matlab(content)
        except MatlabError as error:
            raise bad(path, f"not a MATLAB file that can be read ({error})") from error


def number_lines(path: Path, columns: int) -> Iterator[tuple[int, list[float]]]:
    """Number and values of each line that is not blank; EntryError names a line with fewer than `columns` numbers."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise bad(path, f"'{line.strip()[:40]}' is not {columns} numbers", number) from error
        if len(values) < columns:
            raise bad(path, f"{len(values)} numbers instead of {columns}", number)
        yield number, values


def csv_rows(
    path: Path, needed: tuple[str, ...], example: str
) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The columns of a file, in lower case, and line number and cells by column of each row that is not empty.

    Commas, semicolons or tabs. EntryError where a `needed` column is missing.
    """
    text = read_text(path)
    header = text.partition("\n")[0].lower()
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", delimiter=max(",;\t", key=header.count))
    with guarded(path):
        reader.fieldnames = names = [name.strip().lower() for name in reader.fieldnames or []]
    missing = set(needed) - set(names)
    if missing:
        problem = f"no column {' or '.join(sorted(missing))}; the first line must name them, such as {example}"
        raise bad(path, problem, 1)

    def rows() -> Iterator[tuple[int, dict[str, str]]]:
        try:
            for row in reader:
                cells = {name: row[name].strip() for name in names}
                if any(cells.values()):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise bad(path, f"not CSV ({error})", reader.reader.line_num) from error

    return names, rows()
