"""report.html: everything that belongs to a number, in one file that loads nothing and trusts no name."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner
from view_results import CROWD, crowd_result, stored_result

from gigacount.batch.ledger import SharedLedger
from gigacount.batch.work import Row
from gigacount.batch.worklist import work_list
from gigacount.cli import app
from gigacount.errors import UsageError
from gigacount.geometry import View, Window
from gigacount.image.georeference import Georeference
from gigacount.output.folder import ResultFolder
from gigacount.output.overlay import Sheet
from gigacount.output.report import write_report
from gigacount.output.writers import write_result
from gigacount.regions import Region, Regions
from gigacount.results import CountResult, Looked

HOSTILE = '<script>alert(1)</script> & "quotes" \'.png'


class Page(HTMLParser):
    """The tags, what they refer to, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def result(tmp_path: Path) -> CountResult:
    image = tmp_path / HOSTILE.replace("/", "_")
    Image.new("RGB", (16, 12)).save(image)
    square = np.array([[0, 0], [800, 0], [800, 600], [0, 600]], float)
    zoom = Looked(View(Window(160, 80, 320, 160), (320, 160), 1), 5.0)
    regions = Regions((Region("<b>gate</b>", (square,), 480_000.0, 12_000.0),))
    one = crowd_result(image)
    return replace(one, regions=regions, looked=[*one.looked, zoom])


def test_a_report_holds_what_belongs_to_the_number_and_loads_nothing(result: CountResult, tmp_path: Path) -> None:
    write_report(result, tmp_path / "report.html")
    source = (tmp_path / "report.html").read_text()
    page = Page(source)
    assert f"{result.count:,.0f} people" in page.text
    for words in (
        "220 to 420, 90% sure",
        "a <doubt>",
        "a <note>",
        "<b>gate</b>",
        "a" * 64,
        "2 windows at 2 zoom",
    ):
        assert words in page.text
    assert HOSTILE.replace("/", "_") in page.text
    assert not {"script", "b", "link", "iframe"} & set(page.tags)
    assert len(page.references) == 2
    assert all(reference.startswith("data:image/jpeg;base64,") for reference in page.references)
    assert "default-src 'none'" in source
    assert not re.search(r"url\(|@import|https?://", source)


def test_a_report_needs_a_preview(result: CountResult, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no preview"):
        write_report(replace(result, preview=None), tmp_path / "report.html")


def test_a_scale_bar_is_drawn_where_the_scale_is_known(result: CountResult, tmp_path: Path) -> None:
    plain, scaled = tmp_path / "plain", tmp_path / "scaled"
    for folder, place in ((plain, None), (scaled, Georeference((0.1, 0, 0, 0, -0.1, 0), None, metres_per_unit=1.0))):
        folder.mkdir()
        write_report(replace(result, georeference=place), folder / "report.html")
    assert (plain / "report.html").stat().st_size != (scaled / "report.html").stat().st_size
    sheet = Sheet(Image.new("RGB", (800, 600), (90, 90, 90)), (1600, 1200))
    sheet.add_scale_bar(0.1)  # 800 px of 0.2 m: a fifth of the width is 32 m, so the bar is 20 m, 100 px
    white = (np.asarray(sheet.image) == 255).all(axis=2)
    assert white.sum(axis=1).max() == pytest.approx(100, abs=2)


def test_an_audit_is_written_into_the_report(tmp_path: Path) -> None:
    folder = stored_result(tmp_path, formats=("report",))
    assert "By hand" not in (folder / "report.html").read_text()
    done = CliRunner().invoke(app, ["audit", str(folder), "--report"])
    assert done.exit_code == 0, done.output
    assert "no patch is counted yet" in Page((folder / "report.html").read_text()).text


def test_a_batch_with_reports_gets_an_index(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("a #1.png", "b.png"):
        Image.new("RGB", (16, 12)).save(photos / name)
    one, other = work_list([photos], out)
    ledger = SharedLedger(out, "counted")
    write_result(crowd_result(one.path, CROWD), ResultFolder(one.folder), ("report",))
    ledger.settle(one, Row(str(one.path), count=300.0, low=250.0, high=360.0), reused=False)
    ledger.settle(other, Row(str(other.path), status="failed", message="b.png: <damaged>"), reused=False)
    ledger.close()
    page = Page((out / "index.html").read_text())
    assert page.references == ["a%20%231.png.gigacount/report.html"]
    assert "b.png: <damaged>" in page.text
    assert "250 to 360" in page.text
