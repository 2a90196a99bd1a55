"""The viewer as it is used, in Chromium: apt-get install chromium, then make test-browser."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import uvicorn
from view_results import crowd_result, stored_result

from gigacount.density import DensityMap
from gigacount.image import GigaImage
from gigacount.output.folder import ResultFolder, result_folder
from gigacount.output.opened import open_result
from gigacount.output.writers import write_result
from gigacount.view.opening import open_audit, open_scene
from gigacount.view.server import listen, make_app

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LAPTOP, PHONE = {"width": 1366, "height": 768}, {"width": 390, "height": 844}
LARGE = (26_908, 15_024)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.fail("there is no chromium here; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Served:
    """A scene served on this machine while the block runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> str:
        self.opened = open_scene(self.path)
        scene = self.opened.__enter__()
        bound, port, token = listen()
        config = uvicorn.Config(make_app(scene, token, port), log_level="error")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [bound]})
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        return f"http://127.0.0.1:{port}/{token}/"

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.opened.__exit__(None, None, None)


def open_page(browser: Any, address: str, size: dict[str, int], errors: list[str], touch: bool = False) -> Any:
    """The viewer's page once the picture is there; what goes wrong in it is added to `errors`."""
    page = browser.new_context(viewport=size, has_touch=touch).new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    wait_for(page, "state.image && state.image.getFullyLoaded()")
    return page


def wait_for(page: Any, condition: str) -> None:
    """Playwright's own way is what the page's policy forbids."""
    end = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"in vain: {condition}; {page.text_content('#said')}"
        page.wait_for_timeout(50)


def settled(page: Any) -> None:
    wait_for(page, "state.image.getFullyLoaded()")
    page.wait_for_timeout(900)  # the springs of the view


def on_screen(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the picture is in the window."""
    box = page.locator("#view").bounding_box()
    place = page.evaluate("([x, y]) => { const a = affine(); return [a.x + a.scale * x, a.y + a.scale * y]; }", [x, y])
    return box["x"] + place[0], box["y"] + place[1]


def tap(page: Any, x: float, y: float) -> None:
    """Click on a pixel of the picture, and no double click with the last one."""
    page.mouse.click(*on_screen(page, x, y))
    page.wait_for_timeout(450)


def test_a_404_megapixel_picture_is_panned_and_zoomed_with_its_layers(browser: Any, tmp_path: Path) -> None:
    image = tmp_path / "large.tif"
    spots = pyvips.Image.gaussnoise(421, 235, mean=128, sigma=50).resize(64).cast("uchar")
    spots.crop(0, 0, *LARGE).bandjoin([spots.crop(0, 0, *LARGE)] * 2).copy(interpretation="srgb").tiffsave(
        str(image), tile=True, pyramid=True, compression="jpeg", Q=80
    )
    density = DensityMap.empty(LARGE)
    density.cells[200:400, 500:900] = 0.05
    target = ResultFolder(result_folder(image, None))
    write_result(crowd_result(image, density, heads=3000), target, ("tif", "csv"))
    errors: list[str] = []
    with Served(target.path) as address:
        page = open_page(browser, address, LAPTOP, errors)
        assert page.text_content("#total") == "4,000 people (220 to 420)"
        settled(page)
        page.locator("#view").focus()
        for _ in range(4):
            page.keyboard.press("+")
        page.keyboard.press("ArrowLeft")
        settled(page)
        here = page.text_content("#here")
        assert here.startswith("in view: ")
        assert here != "in view: 4,000 people, 3,000 heads"
        before = page.screenshot()
        page.keyboard.press("2")
        settled(page)
        assert not page.is_checked("#layer-density")
        assert page.screenshot() != before
        page.mouse.move(600, 300)
        page.mouse.wheel(0, -2000)
        settled(page)
        zoomed = page.evaluate("affine().scale")
        page.mouse.move(600, 300)
        page.mouse.down()
        page.mouse.move(400, 250, steps=5)
        page.mouse.up()
        settled(page)
        assert page.evaluate("affine().scale") == pytest.approx(zoomed)
    assert errors == []


def test_heads_are_added_removed_moved_undone_and_there_after_a_reload(browser: Any, tmp_path: Path) -> None:
    folder = stored_result(tmp_path, heads=12)
    errors: list[str] = []
    with Served(folder) as address:
        page = open_page(browser, address, LAPTOP, errors)
        settled(page)
        heads = page.evaluate("headsHere()")
        assert len(heads) == 12
        page.keyboard.press("h")
        places = ((x, y) for x in range(100, 1500, 50) for y in range(100, 1100, 50))
        place = next(xy for xy in places if all(np.hypot(xy[0] - h[0], xy[1] - h[1]) > 120 for h in heads))
        tap(page, *place)
        tap(page, *heads[0][:2])
        start, end = on_screen(page, *heads[1][:2]), on_screen(page, heads[1][0] + 60, heads[1][1] + 60)
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=4)
        page.mouse.up()
        wait_for(page, "of('moved').length === 1")
        assert page.evaluate("[of('added').length, of('removed').length]") == [1, 1]
        tap(page, place[0] + 300, place[1])
        wait_for(page, "of('added').length === 2")
        page.keyboard.press("u")
        wait_for(page, "of('added').length === 1")
        page.reload()
        wait_for(page, "state.drawings.corrections.length === 3")
        assert page.text_content("#total").endswith("corrected 294")
    kept = json.loads((tmp_path / "crowd.png.corrections.geojson").read_text())["features"]
    assert sorted(feature["properties"]["correction"] for feature in kept) == ["added", "moved", "removed"]
    assert errors == []


def test_a_region_is_drawn_and_saved(browser: Any, tmp_path: Path) -> None:
    errors: list[str] = []
    with Served(stored_result(tmp_path, heads=12)) as address:
        page = open_page(browser, address, LAPTOP, errors)
        settled(page)
        page.on("dialog", lambda dialog: dialog.accept("north <gate>"))
        page.click("[data-mode=region]")
        for corner in ((200, 200), (900, 220), (880, 800), (210, 790)):
            tap(page, *corner)
        page.click("#done")
        wait_for(page, "document.getElementById('said').textContent.startsWith('north <gate>: ')")
    (feature,) = json.loads((tmp_path / "crowd.png.regions.geojson").read_text())["features"]
    assert feature["properties"]["name"] == "north <gate>"
    assert errors == []


def test_an_audit_of_five_patches_on_a_phone(browser: Any, tmp_path: Path) -> None:
    folder = stored_result(tmp_path, heads=12)
    errors: list[str] = []
    with Served(folder) as address:
        page = open_page(browser, address, PHONE, errors, touch=True)
        page.tap("[data-mode=audit]")
        for patch in range(1, 6):
            wait_for(page, f"state.audit && state.audit.patch === {patch}")
            settled(page)
            left, top, width, height = page.evaluate("state.audit.window")
            for x, y in ((0.3, 0.3), (0.7, 0.6)):
                page.touchscreen.tap(*on_screen(page, left + x * width, top + y * height))
                page.wait_for_timeout(450)
            wait_for(page, "state.marks.length === 2")
            page.tap("#done")
        wait_for(page, "state.audit.patch === 6")
        assert "95% sure" in page.text_content("#said")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    made = open_audit(open_result(folder)).estimate()
    assert (made.patches, made.heads) == (5, 10)
    assert errors == []


def test_a_report_opens_offline_and_prints_on_two_pages(browser: Any, tmp_path: Path) -> None:
    folder = stored_result(tmp_path, formats=("report",))
    context = browser.new_context(offline=True)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((folder / "report.html").as_uri())
    assert page.text_content(".count") == "294 people"
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 100)")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert page.pdf(prefer_css_page_size=True).count(b"/Type /Page\n") == 2
    with GigaImage.open(folder.parent / "crowd.png") as image:
        assert image.size_wh == (1603, 1201)
