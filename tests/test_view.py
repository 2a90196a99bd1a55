"""The viewer's server: what it shows, what it keeps, and whom it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner
from view_results import CROWD, SIZE, stored_result

from gigacount import atomic
from gigacount.batch.worklist import work_list
from gigacount.cli import app
from gigacount.datasets import read
from gigacount.density import people_in
from gigacount.errors import DataError, ImageError
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage
from gigacount.options import RegionOptions
from gigacount.regions import read_regions
from gigacount.view.opening import open_scene
from gigacount.view.server import FILES, PAGE, Viewed, make_app
from gigacount.view.tiles import MOST_HEADS, Cache, HeadTiles, most_level, tile_window

TOKEN, PORT = "t0ken", 8123
OWN = {"Origin": f"http://127.0.0.1:{PORT}"}
HEADS = 200


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Viewed]:
    with open_scene(stored_result(tmp_path, heads=HEADS)) as opened:
        yield opened


def client_of(scene: Viewed) -> TestClient:
    made = make_app(scene, TOKEN, PORT)
    return TestClient(made, base_url=f"http://127.0.0.1:{PORT}", headers=OWN)


@pytest.fixture
def client(scene: Viewed) -> TestClient:
    return client_of(scene)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Of a scene that all tests share which change nothing."""
    with open_scene(stored_result(tmp_path_factory.mktemp("shared"), heads=HEADS)) as opened:
        yield client_of(opened)


def point(x: float, y: float, correction: str, **more: Any) -> dict[str, Any]:
    geometry = {"type": "Point", "coordinates": [x, y]}
    return {"type": "Feature", "geometry": geometry, "properties": {"correction": correction, **more}}


def polygon(*corners: tuple[float, float], **properties: Any) -> dict[str, Any]:
    ring = [list(corner) for corner in (*corners, corners[0])]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


SQUARE = (100, 100), (500, 100), (500, 400), (100, 400)


def test_the_page_is_served_and_says_what_it_shows(reader: TestClient) -> None:
    for name in FILES:
        answer = reader.get(f"/{TOKEN}/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    about = reader.get(f"/{TOKEN}/about").json()
    assert about["size"] == list(SIZE)
    assert about["count"] == pytest.approx(CROWD.count)
    assert about["heads"] == HEADS
    assert about["legend"].endswith("people per 100 \N{MULTIPLICATION SIGN} 100 px")


def test_the_page_loads_nothing_from_elsewhere_and_its_licence_is_shipped() -> None:
    for name, _ in FILES.values():
        if name != "openseadragon.min.js":
            assert "http" not in (PAGE / name).read_text().replace("http-equiv", "")
    assert "Redistribution" in (PAGE / "LICENSE_OPENSEADRAGON").read_text()


def test_tiles_are_the_picture(client: TestClient, scene: Viewed) -> None:
    most = most_level(SIZE)
    answer = client.get(f"/{TOKEN}/tile/image/{most}/1/2")
    tile = np.asarray(Image.open(BytesIO(answer.content)), np.int16)
    true = scene.image.read(Window(256, 512, 256, 256), (256, 256)).astype(np.int16)
    assert tile.shape == true.shape
    assert np.abs(tile - true).mean() < 5
    edge = Image.open(BytesIO(client.get(f"/{TOKEN}/tile/image/{most}/6/4").content))
    assert edge.size == (SIZE[0] - 6 * 256, SIZE[1] - 4 * 256)
    small = Image.open(BytesIO(client.get(f"/{TOKEN}/tile/image/0/0/0").content))
    assert small.size == (1, 1)


def test_the_tiles_of_a_level_partition_the_picture() -> None:
    for level in range(6, most_level(SIZE) + 1):
        side = 256 << (most_level(SIZE) - level)
        windows = [
            tile_window(SIZE, level, x, y)[0] for x in range(-(-SIZE[0] // side)) for y in range(-(-SIZE[1] // side))
        ]
        assert sum(window.pixels for window in windows) == whole(SIZE).pixels


def test_density_tiles_are_opaque_where_people_are(reader: TestClient) -> None:
    most = most_level(SIZE)
    alpha = [
        np.asarray(Image.open(BytesIO(reader.get(f"/{TOKEN}/tile/density/{most}/{x}/{y}").content)))[..., 3].mean()
        for x, y in ((1, 1), (5, 3))
    ]
    assert alpha[0] > 3 * alpha[1]
    for level in (most - 1, most - 3, 0):
        assert reader.get(f"/{TOKEN}/tile/density/{level}/0/0").status_code == 200


@pytest.mark.parametrize("place", ["image/99/0/0", "image/11/99/0", "secrets/11/0/0", "density/11/7/0"])
def test_tiles_that_there_are_not_are_refused(reader: TestClient, place: str) -> None:
    assert reader.get(f"/{TOKEN}/tile/{place}").status_code == 400


def test_heads_are_served_by_tile_and_thinned_where_there_are_many(client: TestClient, scene: Viewed) -> None:
    most, found, total = most_level(SIZE), 0, 0
    for x in range(7):
        for y in range(5):
            tile = client.get(f"/{TOKEN}/heads/{most}/{x}/{y}").json()
            assert all(
                256 * x <= head[0] < 256 * (x + 1) and 256 * y <= head[1] < 256 * (y + 1) for head in tile["heads"]
            )
            found, total = found + len(tile["heads"]), total + tile["of"]
    assert found == total == HEADS
    many = np.random.default_rng(0).random((100_000, 3)).astype(np.float32) * 1000
    some, of = HeadTiles(many, (1000, 1000)).tile(0, 0, 0)
    assert of == 100_000
    assert MOST_HEADS / 2 < len(some) <= MOST_HEADS


def test_the_visible_rectangle_and_polygons_are_counted(client: TestClient, scene: Viewed) -> None:
    everything = client.get(f"/{TOKEN}/count?left=0&top=0&right={SIZE[0]}&bottom={SIZE[1]}").json()
    assert everything["people"] == pytest.approx(CROWD.count, rel=1e-6)
    assert everything["heads"] == HEADS
    drawn = client.post(f"/{TOKEN}/count", json=polygon(*SQUARE)).json()
    assert drawn["people"] == pytest.approx(people_in(CROWD, 100, 100, 500, 400), rel=1e-4)
    assert client.get(f"/{TOKEN}/count?left=nan&top=0&right=1&bottom=1").status_code == 400
    crossing = polygon((0, 0), (10, 10), (10, 0), (0, 10))
    assert "redraw it" in client.post(f"/{TOKEN}/count", json=crossing).json()["error"]


def test_regions_and_zones_are_saved_as_count_takes_them(client: TestClient, scene: Viewed, tmp_path: Path) -> None:
    for kind in ("regions", "exclude"):
        client.post(f"/{TOKEN}/drawing/{kind}", json={"add": [polygon(*SQUARE, name="<gate>")]})
        (region,) = read_regions(RegionOptions(tmp_path / f"crowd.png.{kind}.geojson"), SIZE).regions
        assert (region.name, region.area_px) == ("<gate>", 400 * 300)
    far = [(corner[0] + 5000, corner[1]) for corner in SQUARE]
    for corners in (((0, 0), (9, 9), (9, 0), (0, 9)), far):
        assert client.post(f"/{TOKEN}/drawing/regions", json={"add": [polygon(*corners)]}).status_code == 400


def test_heads_are_corrected_beside_the_result_and_the_machines_stay(
    client: TestClient, scene: Viewed, tmp_path: Path
) -> None:
    before = (tmp_path / "crowd.png.gigacount" / "points.csv").read_bytes()
    x, y = scene.machine[0, :2].round(2).tolist()
    add = [point(10.5, 20.25, "added"), point(x, y, "removed")]
    add.append(point(700, 700, "moved", **{"from": scene.machine[1, :2].astype(float).round(2).tolist()}))
    features = client.post(f"/{TOKEN}/drawing/corrections", json={"add": add}).json()
    assert [feature["properties"]["correction"] for feature in features] == ["added", "removed", "moved"]
    assert all(feature["properties"]["by"] and feature["properties"]["when"] for feature in features)
    assert client_of(scene).get(f"/{TOKEN}/drawing/corrections").json() == features  # after a reload
    assert len(scene.corrections.heads(features)) == HEADS
    assert client.get(f"/{TOKEN}/count?left=0&top=0&right=50&bottom=50").json()["corrected"] == pytest.approx(
        people_in(CROWD, 0, 0, 50, 50) + 1
    )
    left = client.post(f"/{TOKEN}/drawing/corrections", json={"remove": [features[0]["id"]]}).json()
    assert left == features[1:]
    back = client.post(f"/{TOKEN}/drawing/corrections", json={"add": [features[0]]}).json()  # undone and done again
    assert back[-1]["id"] == features[0]["id"]
    assert (tmp_path / "crowd.png.gigacount" / "points.csv").read_bytes() == before


@pytest.mark.parametrize(
    "feature",
    [
        point(-1, 5, "added"),
        point(SIZE[0], 5, "added"),
        point(5, 5, "invented"),
        point(5, 5, "moved"),
        point(5, 5, "moved", **{"from": ["a", 2]}),
        polygon((0, 0), (9000, 0), (9000, 9), correction="checked"),
        "text",
        {"type": "Feature", "properties": {"correction": "added"}},
    ],
)
def test_what_is_no_correction_is_refused_and_nothing_written(client: TestClient, scene: Viewed, feature: Any) -> None:
    answer = client.post(f"/{TOKEN}/drawing/corrections", json={"add": [feature]})
    assert answer.status_code == 400
    assert not scene.corrections.path.exists()


def test_checked_areas_are_a_data_set(client: TestClient, scene: Viewed, tmp_path: Path) -> None:
    area = polygon((200, 100), (600.5, 100), (600.5, 420), (200, 420), correction="checked")
    client.post(f"/{TOKEN}/drawing/corrections", json={"add": [area, point(210.5, 110.25, "added")]})
    (sample,) = read(f"corrections:{tmp_path}")
    inside = ((scene.machine[:, :2] >= (200, 100)) & (scene.machine[:, :2] < (601, 420))).all(axis=1)
    assert len(sample.points_xy) == inside.sum() + 1
    assert [10.5, 10.25] in sample.points_xy.tolist()
    with GigaImage.open(sample.image) as cut:
        assert cut.size_wh == (401, 320)
        true = scene.image.read(Window(200, 100, 401, 320), (401, 320))
        np.testing.assert_array_equal(cut.read(whole(cut.size_wh), cut.size_wh), true)
    sample.image.unlink()
    with pytest.raises(DataError, match="no labelled images"):
        list(read(f"corrections:{tmp_path}"))


def test_two_viewers_of_one_result_keep_each_others_work(tmp_path: Path) -> None:
    folder = stored_result(tmp_path)
    with open_scene(folder) as one, open_scene(folder) as other:
        client_of(one).post(f"/{TOKEN}/drawing/corrections", json={"add": [point(1, 1, "added")]})
        features = client_of(other).post(f"/{TOKEN}/drawing/corrections", json={"add": [point(2, 2, "added")]}).json()
        assert len(features) == 2
        assert len(one.corrections.features()) == 2


def test_a_full_disk_loses_no_correction(client: TestClient, scene: Viewed, monkeypatch: pytest.MonkeyPatch) -> None:
    client.post(f"/{TOKEN}/drawing/corrections", json={"add": [point(1, 1, "added")]})
    kept = scene.corrections.path.read_bytes()

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        answer = client.post(f"/{TOKEN}/drawing/corrections", json={"add": [point(2, 2, "added")]})
    assert answer.status_code == 507
    assert "no space left" in answer.json()["error"]
    assert scene.corrections.path.read_bytes() == kept
    assert not list(scene.corrections.path.parent.glob(f".*{atomic.writer()}*"))


def test_a_damaged_file_of_corrections_is_not_written_over(client: TestClient, scene: Viewed) -> None:
    scene.corrections.path.write_text('{"features": [')
    answer = client.post(f"/{TOKEN}/drawing/corrections", json={"add": [point(2, 2, "added")]})
    assert "move it away" in answer.json()["error"]
    assert scene.corrections.path.read_text() == '{"features": ['


FOREIGN = {
    "too deep": "[" * 200_000,
    "no place": '{"features": [{"id": "%s", "properties": {"correction": "added"}}]}' % ("0" * 16),
    "null": '{"features": [{"properties": {"correction": "removed"}, "geometry": {"coordinates": null}}]}',
    "another folder": '{"features": [{"id": "../../x", "properties": {"correction": "checked"}, "geometry": '
    '{"type": "Polygon", "coordinates": [[[0, 0], [99, 0], [99, 99], [0, 99], [0, 0]]]}}]}',
}


@pytest.mark.parametrize("name", FOREIGN)
def test_drawings_that_are_none_of_ours_are_told_and_left_alone(client: TestClient, scene: Viewed, name: str) -> None:
    scene.corrections.path.write_text(FOREIGN[name])
    for answer in (
        client.get(f"/{TOKEN}/count?left=0&top=0&right=900&bottom=900"),
        client.get(f"/{TOKEN}/drawing/corrections"),
        client.post(f"/{TOKEN}/drawing/corrections", json={"add": [point(5, 5, "added")]}),
    ):
        assert answer.status_code == 400
        assert "damaged; move it away" in answer.json()["error"]
    assert scene.corrections.path.read_text() == FOREIGN[name]


def test_a_line_too_deep_in_an_audit_is_passed_over(client: TestClient, scene: Viewed) -> None:
    assert scene.result is not None
    scene.result.beside("audit.jsonl").write_text("[" * 200_000 + "\n")
    assert client.get(f"/{TOKEN}/audit").json()["patch"] == 1


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    for command in ("view", "audit"):
        done = CliRunner().invoke(app, [command, str(tmp_path / "none.jpg")])
        assert isinstance(done.exception, ImageError)
        assert str(done.exception) == f"{tmp_path / 'none.jpg'}: no such file or directory"


def test_an_audit_of_five_patches_in_the_viewer(client: TestClient, scene: Viewed) -> None:
    state = client.get(f"/{TOKEN}/audit").json()
    for number in range(1, 6):
        assert state["patch"] == number
        left, top, width, height = state["window"]
        clicks = [[left + width / 2, top + height / 2], [left - 5, top]]
        state = client.post(f"/{TOKEN}/audit", json={"patch": number, "heads": clicks}).json()
    assert (state["done"], state["heads"]) == (5, 5)
    assert state["low"] < state["people"] < state["high"]
    assert client.post(f"/{TOKEN}/audit", json={"patch": "x", "heads": []}).status_code == 400


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Host": "evil.example"}, "wrong host"),
        ({"Host": f"evil.example:{PORT}"}, "wrong host"),
        ({"Origin": "http://evil.example"}, "wrong origin"),
        ({"Origin": "null"}, "wrong origin"),
        ({"Origin": f"https://127.0.0.1:{PORT}"}, "wrong origin"),
        ({"Sec-Fetch-Site": "cross-site"}, "another site"),
    ],
)
def test_other_hosts_and_origins_are_refused(reader: TestClient, headers: dict[str, str], why: str) -> None:
    for answer in (reader.get(f"/{TOKEN}/about", headers=headers), reader.post(f"/{TOKEN}/audit", headers=headers)):
        assert (answer.status_code, answer.text) == (403, why)


@pytest.mark.parametrize("path", ["/", "/about", "/other/about", "/t0ke/about", f"/{TOKEN}x/about"])
def test_the_token_is_needed(reader: TestClient, path: str) -> None:
    assert reader.get(path).status_code == 403


def test_a_change_needs_an_origin(scene: Viewed) -> None:
    bare = TestClient(make_app(scene, TOKEN, PORT), base_url=f"http://127.0.0.1:{PORT}")
    assert bare.post(f"/{TOKEN}/drawing/corrections", json={"add": []}).text == "no origin"


@pytest.mark.parametrize(
    "path",
    [
        "../count.json",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "server.py",
        "LICENSE_OPENSEADRAGON",
        "link",
        "drawing/..%2fregions",
        "drawing/audit",
        "tile/..%2f..%2fcrowd.png/11/0/0",
    ],
)
def test_no_file_but_the_pages_is_served(reader: TestClient, path: str) -> None:
    (PAGE / "link").symlink_to("/etc/passwd")
    try:
        answer = reader.get(f"/{TOKEN}/{path}")
        assert answer.status_code in (400, 403, 404)
        assert "root:" not in answer.text
    finally:
        (PAGE / "link").unlink()


def test_too_much_at_once_and_no_json_are_refused(reader: TestClient) -> None:
    for content in (b"x" * (5 * 2**20), b"[1]", b"{", b"\xff", b"[" * 100_000):
        assert reader.post(f"/{TOKEN}/drawing/regions", content=content).status_code == 400


def test_a_tile_that_nobody_waits_for_is_not_made(scene: Viewed) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"/{TOKEN}/tile/image/11/1/1"
    headers = [(b"host", f"127.0.0.1:{PORT}".encode())]
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": headers}
    scope |= {"query_string": b"", "root_path": "", "scheme": "http", "http_version": "1.1"}
    asyncio.run(make_app(scene, TOKEN, PORT)(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 499
    assert ("image", 11, 1, 1) not in scene.cache


def test_checked_areas_are_not_counted_with_the_folder(client: TestClient, scene: Viewed, tmp_path: Path) -> None:
    area = polygon((200, 100), (600, 100), (600, 420), (200, 420), correction="checked")
    client.post(f"/{TOKEN}/drawing/corrections", json={"add": [area]})
    assert list((tmp_path / "crowd.png.corrections").glob("*.png"))
    assert [item.path.name for item in work_list([tmp_path], None, recursive=True)] == ["crowd.png"]


def test_the_cache_keeps_what_was_seen_last_within_its_bytes() -> None:
    cache = Cache(most=100)
    made = []

    def make(name: str) -> bytes:
        return cache.get(name, lambda: (made.append(name), b"x" * 40)[1])

    for name in "abacab":
        make(name)
    assert made == ["a", "b", "c", "b"]
    assert cache.held <= 100


def test_a_picture_that_was_not_counted_is_shown_too(tmp_path: Path) -> None:
    Image.new("RGB", (900, 500), (10, 200, 30)).save(tmp_path / "plain.png")
    with open_scene(tmp_path / "plain.png") as scene:
        client = client_of(scene)
        about = client.get(f"/{TOKEN}/about").json()
        assert (about["count"], about["heads"], about["audit"]) == (None, None, False)
        assert client.get(f"/{TOKEN}/audit").status_code == 400
        found = client.post(f"/{TOKEN}/drawing/corrections", json={"add": [point(5, 5, "added")]}).json()
        assert len(found) == 1
        assert client.get(f"/{TOKEN}/count?left=0&top=0&right=9&bottom=9").json()["corrected_heads"] == 1


def test_a_result_without_its_map_shows_its_heads(tmp_path: Path) -> None:
    folder = stored_result(tmp_path, heads=HEADS)
    (folder / "density.tif").unlink()
    with open_scene(folder) as scene:
        client = client_of(scene)
        about = client.get(f"/{TOKEN}/about").json()
        assert (about["legend"], about["heads"], about["audit"]) == (None, HEADS, False)
        found = client.post(f"/{TOKEN}/count", json=polygon((0, 0), (SIZE[0], 0), (SIZE[0], SIZE[1]), (0, SIZE[1])))
        assert (found.json()["people"], found.json()["heads"]) == (None, HEADS)
        assert "needs a result" in client.get(f"/{TOKEN}/audit").json()["error"]


def test_a_picture_that_moved_is_asked_for_and_another_one_refused(tmp_path: Path) -> None:
    folder = stored_result(tmp_path)
    (tmp_path / "crowd.png").rename(tmp_path / "elsewhere.png")
    with pytest.raises(ImageError, match="--image"), open_scene(folder):
        pass
    with open_scene(folder, tmp_path / "elsewhere.png") as scene:
        assert not scene.about()["changed"]
    Image.new("RGB", (900, 500)).save(tmp_path / "other.png")
    with pytest.raises(DataError, match="another image"), open_scene(folder, tmp_path / "other.png"):
        pass


def test_the_command_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "starlette" else real(name))
    done = CliRunner().invoke(app, ["view", str(tmp_path)])
    assert "gigacount[view]" in str(done.exception)
