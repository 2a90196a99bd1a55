"""Lists of pictures, a line each: data set, tab, file name; a training run so names what it held out."""

from __future__ import annotations

from pathlib import Path

from gigacount.errors import DataError


def read_list(file: Path) -> set[tuple[str, str]]:
    """Data set and file name of each picture in a list. Raises DataError naming the line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot read the list of held-out pictures: {error}") from error
    pairs = [tuple(line.split("\t")) for line in lines]
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2:
            raise DataError(f"{file}, line {number}: expected a data set, a tab and a picture's file name")
    return {(name, picture) for name, picture in pairs}
