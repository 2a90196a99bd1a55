"""Names of files that want to be more than names, and words for numbers."""

from __future__ import annotations

import csv
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigacount.output.tables import csv_text
from gigacount.text import one_line, plural, printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b\u00a0ü\u3000日.jpg", "a b\u00a0ü\u3000日.jpg"),
        ("a\tb\nc\rd", r"a\tb\nc\rd"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("evil\u202egpj.exe", r"evil\u202egpj.exe"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
    ],
)
def test_names_are_shown_without_controls(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_bytes_of_names_that_are_no_utf8_reach_programs_as_they_came() -> None:
    assert os.fsencode(printable(os.fsdecode(b"caf\xe9\n"), keep_bytes=True)) == b"caf\xe9\\n"


@given(st.text())
def test_a_message_is_one_line_whatever_is_in_it(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    one_line(text).encode()


def test_one_is_not_many() -> None:
    assert [plural(number, "picture") for number in (0, 1, 2, 1200)] == [
        "0 pictures", "1 picture", "2 pictures", "1,200 pictures",
    ]  # fmt: skip


@given(st.lists(st.text(), min_size=1))
def test_a_table_has_a_line_a_row_and_no_formulas(names: list[str]) -> None:
    text = csv_text(["name", "count"], [{"name": name, "count": -1.5} for name in names])
    assert len(text.splitlines()) == len(names) + 1
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(names)
    for row in rows:
        assert row["count"] == "-1.5"
        assert not row["name"].startswith(("=", "+", "-", "@"))
