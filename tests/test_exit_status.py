"""0 all well, 1 a picture failed, 2 the command cannot be carried out as it stands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import save, scene
from untrained import untrained_light

from gigacount.cli import main


@pytest.fixture
def status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """The exit status of a command in a folder with pictures and a network."""
    monkeypatch.chdir(tmp_path)
    untrained_light(tmp_path)
    for folder in ("in", "empty", "mixed"):
        (tmp_path / folder).mkdir()
    save(scene(96, 64), tmp_path / "in" / "a.jpg")
    save(scene(96, 64), tmp_path / "mixed" / "a.jpg")
    (tmp_path / "mixed" / "b.jpg").write_text("no picture")
    (tmp_path / "region.geojson").write_text("{")

    def call(command: str) -> int:
        monkeypatch.setattr(sys, "argv", ["gigacount", *command.split(), "--network", "tiny.toml", "--quiet"])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return end.value.code

    return call


def test_of_pictures(status: Callable[[str], int]) -> None:
    assert status("count in/a.jpg") == 0
    assert status("count none.jpg") == 1
    assert status("count mixed") == 1
    assert status("count mixed/b.jpg") == 1
    assert status("count in/a.jpg --region region.geojson --out r") == 1, "it may fit other pictures"


@pytest.mark.parametrize(
    "command",
    [
        "count",
        "count in/a.jpg --levels",
        "count in/a.jpg --max-size 0x0",
        "count empty",
        "count none/*.jpg",
        "count in/a.jpg --region none.geojson",
        "count in --region none.geojson",
        "count in/a.jpg --exclude none.geojson",
        "localize in/a.jpg --out heads.xyz",
    ],
)
def test_of_what_cannot_be_done(status: Callable[[str], int], command: str) -> None:
    assert status(command) == 2


def test_of_results_in_the_way(status: Callable[[str], int]) -> None:
    assert status("count in/a.jpg --out one") == 0
    assert status("count in/a.jpg --out one --max-size 64x64") == 2, "it was made with other options"
    assert status("count in --out many") == 0
    assert status("count in --out many --max-size 64x64") == 2
    assert status("localize in/a.jpg --out heads.csv") == 0
    assert status("localize in/a.jpg --out heads.csv") == 2, "it stands there"
    assert status("localize in/a.jpg --out heads.csv --overwrite") == 0


@pytest.mark.parametrize("arguments", [[""], ["a.jpg", "--out", ""]])
def test_an_empty_name_is_not_the_current_folder(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(scene(96, 64), tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gigacount", "count", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "one of the arguments is empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
