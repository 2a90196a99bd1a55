"""Results of earlier runs are trusted only where every field is what it should be."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_fakes import fake_count

from gigacount.batch.ledger import parse
from gigacount.batch.work import Row
from gigacount.errors import OutputError
from gigacount.output.folder import ResultFolder
from gigacount.output.stored import read_count, to_json

ODD = [None, True, "x", -1, 1.5, 1e308, 10**40, [], {}, [1], {"a": 1}]


def content(folder: Path) -> dict[str, Any]:
    picture = folder / "a.jpg"
    picture.write_bytes(b"x")
    whole = fake_count(picture, "plain", 3.5, 0.1)
    whole["windows"] = [{"level": 0, "left": 0, "top": 0, "width": 3, "height": 2, "count": 3.5}]
    whole["networks"] = {"network": {"name": "light", "sha256": "0"}}
    whole["located"], whole["levels"] = 3, [{"level": 0, "area": 1.0, "people": 3.5, "located": 3}]
    return whole


def stored(folder: Path, value: Any) -> dict[str, Any] | None:
    (folder / "count.json").write_text(json.dumps(value))
    return ResultFolder(folder).finished()


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of everything in a tree."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def test_a_whole_result_is_read_as_it_stands_with_fields_that_are_new(tmp_path: Path) -> None:
    whole = content(tmp_path)
    assert stored(tmp_path, whole) == whole
    assert stored(tmp_path, whole | {"key": "later"}) == whole | {"key": "later"}


def test_every_field_is_needed_and_has_its_type(tmp_path: Path) -> None:
    free = {"recipe", "area", "located", "options", "a"}
    for number, (_, key) in enumerate(places(content(tmp_path))):
        if key in free:
            continue
        without = copy.deepcopy(content(tmp_path))
        holder, _ = list(places(without))[number]
        del holder[key]
        if isinstance(key, str) and key not in ("network", "total", "levels"):
            assert stored(tmp_path, without) is None, f"without {key}"
        changed = copy.deepcopy(content(tmp_path))
        holder, _ = list(places(changed))[number]
        holder[key] = object.__name__ if not isinstance(holder[key], str) else 5
        assert stored(tmp_path, changed) is None, key


@pytest.mark.parametrize("name", ["count", "located", "inferences"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 10**40, "5", True, None, [], {}])
def test_numbers_are_finite_and_numbers(tmp_path: Path, name: str, value: Any) -> None:
    assert stored(tmp_path, content(tmp_path) | {name: value}) is None


@pytest.mark.parametrize("value", [0, -3, 2.5, 10**30])
def test_a_picture_has_sides(tmp_path: Path, value: Any) -> None:
    whole = content(tmp_path)
    whole["image"]["width"] = value
    assert stored(tmp_path, whole) is None


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, '{"count": NaN}', "1" * 10_000, "\udcff\x00"])
def test_what_is_no_json_is_no_result(tmp_path: Path, text: str) -> None:
    (tmp_path / "count.json").write_text(text, errors="surrogateescape")
    assert read_count(tmp_path / "count.json") is None


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_nan_is_never_written(value: Any) -> None:
    with pytest.raises(OutputError, match="finite"):
        to_json(value)


def test_json_holds_every_name_and_moves_no_cursor() -> None:
    names = ["ü", "\x9b31m", "\udce9", "\u2028", "\x1b", "\n"]
    text = to_json(names)
    assert json.loads(text.encode()) == names
    assert "ü" in text
    assert text.isprintable()


ROW = {"path": "a", "count": 1.0, "low": None, "high": 2.0, "points": None, "width": 3, "height": 2}
ROW |= {"seconds": 0.1, "status": "done"}


@pytest.mark.parametrize(
    ("name", "value"), [("count", "x"), ("low", "x"), ("width", 0), ("status", "?"), ("seconds", -1), ("path", 3)]
)
def test_records_are_checked_as_results_are(tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "k.json"
    record = {"name": "a", "source": "/a", "ours": True, "row": ROW | {"message": ""}}
    path.write_text(json.dumps(record))
    found = parse(path)
    assert found is not None
    assert isinstance(found.row, Row)
    path.write_text(json.dumps(record | {"row": ROW | {"message": "", name: value}}))
    assert parse(path) is None
