"""gigacount from Python: what it takes, what comes back, and in which processes it works."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from image_files import scene
from numpy.typing import NDArray
from typer.testing import CliRunner
from untrained import untrained_light

import gigacount
from gigacount import Counter, CountOptions
from gigacount.cli import app
from gigacount.errors import DataError, OutputError, UsageError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def options(tmp_path: Path) -> CountOptions:
    return CountOptions(network=str(untrained_light(tmp_path)), precision="fp32")


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    picture: NDArray[np.uint8] = scene(320, 200)
    return picture


@pytest.mark.weights
def test_the_page_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guide" / "python-api.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    pyvips.Image.new_from_array(scene(400, 300)).jpegsave(str(tmp_path / "photo.jpg"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("<CountResult: ")
    assert done.stdout.rstrip().endswith("missing.jpg: no such file or directory")
    assert sorted(path.name for path in (tmp_path / "photo.counted").iterdir()) == [
        "count.json",
        "density.tif",
        "overlay.jpg",
    ]


def test_every_name_is_there_and_the_options_are_among_them() -> None:
    for name in gigacount.__all__:
        assert getattr(gigacount, name) is not None
    assert {"CountOptions", "StrategyOptions", "PeakOptions", "ReadOptions", "RegionOptions"} <= set(gigacount.__all__)


def test_a_picture_is_a_path_an_array_or_an_image(tmp_path: Path, options: CountOptions, pixels: NDArray[Any]) -> None:
    path = tmp_path / "photo.png"
    image = pyvips.Image.new_from_array(pixels)
    image.pngsave(str(path))
    counter = Counter(options)
    count = counter.count(path).count
    assert count > 0
    assert [counter.count(given).count for given in (str(path), pixels, image)] == [count] * 3
    assert counter.count(pixels[:, :, 0]).count == pytest.approx(
        counter.count(np.repeat(pixels[:, :, :1], 3, axis=2)).count
    )


def test_a_turned_pyvips_image_is_counted_upright(options: CountOptions, pixels: NDArray[Any]) -> None:
    turned = pyvips.Image.new_from_array(np.rot90(pixels).copy()).copy()
    turned.set_type(pyvips.GValue.gint_type, "orientation", 6)  # to be turned a quarter clockwise
    counter = Counter(options)
    assert counter.count(turned).count == counter.count(pixels).count


@pytest.mark.parametrize(
    "wrong", [np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8), 7]
)
def test_what_is_no_picture_is_refused(options: CountOptions, wrong: object) -> None:
    with pytest.raises(UsageError, match="an image must be a path, a uint8 array"):
        Counter(options).count(wrong)


def test_a_result_can_be_shown_drawn_and_saved(tmp_path: Path, options: CountOptions, pixels: NDArray[Any]) -> None:
    result = gigacount.count_image(pixels, options)
    assert repr(result) == f"<CountResult: {result.count:,.1f} ({result.interval}) people in image, 320 x 200 px>"
    assert result.overlay().shape == (200, 320, 3)
    assert result.to_dict()["count"] == result.count
    located = gigacount.localize_image(pixels, options)
    assert located.save(tmp_path / "new" / "kept") == tmp_path / "new" / "kept"
    assert sorted(path.name for path in (tmp_path / "new" / "kept").iterdir()) == [
        "count.json",
        "density.tif",
        "overlay.jpg",
        "points.csv",
    ]
    with pytest.raises(OutputError, match="exists already"):
        result.save(tmp_path / "new" / "kept")


def test_threads_share_a_counter(options: CountOptions, pixels: NDArray[Any]) -> None:
    counter = Counter(options)
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: counter.count(pixels).count, range(8)))
    assert len(set(counts)) == 1


def count_there(options: CountOptions, pixels: NDArray[Any], answer: Any) -> None:
    try:
        answer.put(Counter(options).count(pixels).count)
    except UsageError as error:
        answer.put(str(error))


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_another_process_counts_or_says_at_once_why_not(
    options: CountOptions, pixels: NDArray[Any], method: str
) -> None:
    """A fork of a process that has counted would wait for ever for threads that are not there."""
    count = Counter(options).count(pixels).count
    context = multiprocessing.get_context(method)
    answer = context.Queue()
    process = context.Process(target=count_there, args=(options, pixels, answer))
    process.start()
    said = answer.get(timeout=120)
    process.join(20)
    assert said == count if method == "spawn" else "start processes with 'spawn' instead" in said


def test_the_host_process_is_left_as_it_is(tmp_path: Path, options: CountOptions) -> None:
    code = f"""
        import os, signal, sys
        import numpy as np
        before = dict(os.environ), signal.getsignal(signal.SIGTERM), sys.getswitchinterval()
        import gigacount
        gigacount.count_image(np.zeros((64, 64, 3), np.uint8), gigacount.CountOptions(network={options.network!r}))
        after = dict(os.environ), signal.getsignal(signal.SIGTERM), sys.getswitchinterval()
        for environment in (before[0], after[0]):
            for name in ("VIPS_WARNING", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"):  # set by libraries
                environment.pop(name, None)
        changed = [(b, a) for b, a in zip(before, after) if b != a]
        assert not changed, changed
    """
    environment = dict(os.environ, PYTHONWARNINGS="error")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_one_picture_is_opened_once_and_its_record_read_once(
    tmp_path: Path, options: CountOptions, pixels: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gigacount.image import GigaImage
    from gigacount.networks import record

    pyvips.Image.new_from_array(pixels).pngsave(str(tmp_path / "photo.png"))
    calls: list[str] = []
    opened, read = GigaImage.open.__func__, record.read_record  # type: ignore[attr-defined]
    monkeypatch.setattr(
        GigaImage, "open", classmethod(lambda cls, *a, **k: calls.append("open") or opened(cls, *a, **k))
    )
    for module in ("gigacount.networks", "gigacount.networks.record"):
        monkeypatch.setattr(f"{module}.read_record", lambda path: calls.append("record") or read(path))
    arguments = ["count", str(tmp_path / "photo.png"), "--network", options.network, "--json", "-q"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert sorted(calls) == ["open", "record"]


@pytest.mark.parametrize("mode", ["I;16", "F", "RGBA", "LA"])
def test_images_whose_values_leave_their_meaning_open_are_refused(options: CountOptions, mode: str) -> None:
    image = pytest.importorskip("PIL.Image").new(mode, (40, 30))
    with pytest.raises(UsageError, match="give the path of its file"):
        Counter(options).count(image)
    bands = pyvips.Image.black(40, 30, bands=4)
    for vips in (bands, bands.cast("ushort")[:3], bands[:2]):
        with pytest.raises(UsageError, match="give the path of its file"):
            Counter(options).count(vips)


def test_regions_that_change_during_a_run_are_an_error(
    tmp_path: Path, options: CountOptions, pixels: NDArray[Any]
) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [50, 0], [50, 50], [0, 50], [0, 0]]]}
    (tmp_path / "out.geojson").write_text(json.dumps(square))
    counter = Counter(replace(options, exclude=str(tmp_path / "out.geojson")))
    counter.count(pixels)
    (tmp_path / "out.geojson").write_text(json.dumps(square).replace("50", "60"))
    with pytest.raises(DataError, match="changed while images were counted"):
        counter.count(pixels)
