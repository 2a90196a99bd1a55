"""The command line from outside: answers on stdout, one-line errors on stderr, exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from command_line import Done, gigacount
from untrained import untrained_light

from gigacount.cli.options import parse_choices
from gigacount.errors import UnknownNameError, UsageError
from gigacount.options import CountOptions
from gigacount.options.option import parse_numbers, parse_size

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that have learned nothing: the tests here are about everything but the count."""
    return untrained_light(tmp_path_factory.mktemp("network"))


@pytest.fixture
def run(tmp_path: Path, network: Path) -> Run:
    def call(*arguments: str | Path) -> Done:
        chosen = ["--network", network] if arguments and arguments[0] == "count" else []
        return gigacount(*arguments, *chosen, cwd=tmp_path)

    return call


def draw(path: Path, size: tuple[int, int] = (320, 200)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    pyvips.Image.new_from_array(pixels).write_to_file(str(path))
    return path


def one_line(completed: Done) -> str:
    assert completed.stdout == ""
    assert "Traceback" not in completed.stderr
    assert completed.stderr.count("\n") == 1, completed.stderr
    assert completed.stderr.startswith("gigacount: ")
    return completed.stderr


def test_count_prints_the_number_and_says_how_sure_it_is(run: Run, tmp_path: Path) -> None:
    done = run("count", draw(tmp_path / "a.png"))
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "a.png.gigacount" / "count.json").read_text())
    assert done.stdout == f"{content['count']:.1f}\n"
    files = sorted(p.name for p in (tmp_path / "a.png.gigacount").iterdir())
    assert files == ["count.json", "density.tif", "overlay.jpg"]
    interval = content["interval"]
    assert interval["low"] < content["count"] < interval["high"]
    why = f"expected error {interval['basis']}; {interval['doubts'][-1]}"
    said = rf"{content['count']:,.0f} people \(\d+ to \d+\); {why}\n"
    assert re.fullmatch(said, done.stderr), done.stderr
    again = run("count", tmp_path / "a.png", "--quiet")
    assert (again.stdout, again.stderr) == (done.stdout, "")


def test_several_pictures_print_path_tab_count_and_a_bad_one_does_not_stop_them(run: Run, tmp_path: Path) -> None:
    good, bad, other = draw(tmp_path / "a.png"), tmp_path / "b.png", draw(tmp_path / "c.jpg")
    bad.write_text("no picture")
    done = run("count", good, bad, other, "--out", tmp_path / "out")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [str(good), str(other)]
    assert all(float(line.split("\t")[1]) >= 0 for line in lines)
    assert "b.png" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "c.jpg.gigacount" / "count.json").exists()


def test_json_prints_an_object_a_line(run: Run, tmp_path: Path) -> None:
    done = run("count", draw(tmp_path / "a.png"), draw(tmp_path / "b.png"), "--json", "--format", "json")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(answer["image"]["path"]).name for answer in answers] == ["a.png", "b.png"]
    assert sorted(p.name for p in (tmp_path / "a.png.gigacount").iterdir()) == ["count.json"]


def test_a_result_is_reused_and_never_silently_overwritten(run: Run, tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    first = run("count", image)
    again = run("count", image)
    assert again.stdout == first.stdout
    assert "already counted" in again.stderr
    assert "--overwrite" in one_line(run("count", image, "--strategy", "downsample"))
    assert run("count", image, "--strategy", "downsample", "--overwrite").returncode == 0


def test_the_same_picture_gives_the_same_count(run: Run, tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png", (900, 700))
    arguments = ("count", image, "--overwrite", "--max-size", "128x96", "--levels", "3")
    assert run(*arguments).stdout == run(*arguments).stdout


@pytest.mark.parametrize("strategy", ["gigazoom", "downsample", "sliding"])
def test_each_strategy_counts(run: Run, tmp_path: Path, strategy: str) -> None:
    image = draw(tmp_path / "a.jpg", (700, 500))
    done = run("count", image, "--strategy", strategy, "--max-size", "128x72", "--levels", "2", "--tile", "128x96")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0


def test_a_coarse_network_is_used_and_recorded(run: Run, tmp_path: Path, network: Path) -> None:
    image = draw(tmp_path / "a.png")
    assert run("count", image, "--coarse-network", network).returncode == 0
    content = json.loads((tmp_path / "a.png.gigacount" / "count.json").read_text())
    assert set(content["networks"]) == {"network", "coarse_network"}


BAD_USAGE = {
    "levels": (["--levels", "0"], "levels"),
    "no whole number": (["--levels", "1.5"], "--levels must be a whole number, not '1.5'"),
    "no number": (["--nodata", "none"], "--nodata must be a number, not 'none'"),
    "too much": (["--quiet=yes"], "--quiet takes no value; see gigacount --help"),
    "clusters": (["--clusters", "-2"], "clusters"),
    "max size": (["--max-size", "63x500"], "64x64"),
    "no size": (["--max-size", "large"], "2560x1440"),
    "strategy": (["--strategy", "magic"], "gigazoom, downsample, sliding"),
    "zoom": (["--zoom", "cubic"], "exponential or linear"),
    "device": (["--device", "tpu"], "auto, cpu, cuda, mps"),
    "precision": (["--precision", "fp8"], "bf16"),
    "format": (["--format", "tif,doc"], "overlay"),
    "scales": (["--scales", "1/0"], "scales"),
    "option": (["--lvels", "3"], "there is no option --lvels; like it are "),
    "coarse network": (["--coarse-network", "nothing"], "light"),
}


@pytest.mark.parametrize("case", BAD_USAGE)
def test_wrong_usage_is_one_line_and_exit_2(run: Run, tmp_path: Path, case: str) -> None:
    arguments, words = BAD_USAGE[case]
    done = run("count", draw(tmp_path / "a.png"), *arguments)
    assert words in one_line(done)
    assert done.returncode == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]


def test_no_command_and_no_picture_are_wrong_usage(run: Run) -> None:
    for arguments, words in [
        (["count"], "IMAGE|FOLDER|PATTERN|LIST... is missing; see gigacount count --help"),
        (["cuont", "a.jpg"], "there is no command 'cuont'; did you mean 'count'?; see gigacount --help"),
        (["networks", "profile", "a", "b"], "too many arguments: b; see gigacount networks profile --help"),
        (["synthesize"], "--out is missing; see gigacount synthesize --help"),
        (["audit", "a.jpg", "--seed"], "--seed needs a value; see gigacount --help"),
    ]:
        done = run(*arguments)
        assert done.returncode == 2
        assert one_line(done).strip() == f"gigacount: {words}"


def bad_picture(kind: str, folder: Path) -> Path:
    path = folder / "bad.jpg"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("these are words")
    elif kind == "cut":
        draw(path, (640, 480))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "broken tile":
        path = path.with_suffix(".tif")
        pixels = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
        pyvips.Image.new_from_array(pixels).tiffsave(str(path), tile=True, compression="deflate")
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 4000] = bytes(4000)
        path.write_bytes(content)
    elif kind == "fifo":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "cut", "broken tile", "fifo"])
def test_a_bad_picture_is_one_line_and_leaves_nothing(run: Run, tmp_path: Path, kind: str) -> None:
    path = bad_picture(kind, tmp_path)
    done = run("count", path)
    assert path.name in one_line(done)
    assert done.returncode == (2 if kind == "folder" else 1)  # a folder without pictures is no picture that failed
    assert [p.name for p in tmp_path.iterdir() if p != path] == []


def test_a_damaged_picture_counts_when_allowed(run: Run, tmp_path: Path) -> None:
    done = run("count", bad_picture("cut", tmp_path), "--allow-damaged")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) >= 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_permissions_are_said(run: Run, tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    image.chmod(0)
    assert "permission" in one_line(run("count", image)).lower()


def test_an_output_that_cannot_be_written_is_said_before_the_work(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert "out" in one_line(run("count", draw(tmp_path / "a.png"), "--out", tmp_path / "out"))


def test_too_many_pixels_are_refused(run: Run, tmp_path: Path) -> None:
    assert "--max-pixels" in one_line(run("count", draw(tmp_path / "a.png"), "--max-pixels", "1000"))


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    assert "Traceback" in run("count", tmp_path / "none.jpg", "--debug").stderr


def test_info_describes_picture_and_plan(run: Run, tmp_path: Path) -> None:
    image = draw(tmp_path / "a.jpg", (3000, 1000))
    zooms = ("--strategy", "gigazoom", "--max-size", "256x144", "--levels", "4")
    text = run("info", image, *zooms).stdout
    assert "3,000 x 1,000 px" in text
    assert "at most 9 looks" in text
    closer = run("info", image, "--max-size", "256x144", "--tile", "256x144").stdout
    assert "adaptive: 6 looks, and at most 108 closer\n" in closer
    about = json.loads(run("info", image, *zooms, "--json").stdout)
    assert about["plan"]["inferences"] == 9
    assert about["image"]["size_wh"] == [3000, 1000]


def test_info_says_what_is_assumed_and_what_is_odd(run: Run, tmp_path: Path) -> None:
    image = tmp_path / "multispectral.tif"
    bands = np.zeros((200, 300, 5), np.uint16)
    bands[50:150, 50:250], bands[50:150, 50:150] = 900, 100
    tifffile.imwrite(
        image, bands, photometric="minisblack", planarconfig="contig", extratags=[(42113, 2, 0, "0", True)]
    )
    text = run("info", image).stdout
    for line in (
        r"bands +1, 2, 3 as red, green, blue",
        r"range +0 is black, 900 is white \(as its pixels are\)",
        r"ground +about 33\.\d% of it \(nodata 0\)",
        r"place +not on a map",
        r"note +.*bands 4, 5 not looked at",
        r"note +66\.\d% of the image is transparent, masked or nodata",
        r"network +light, run by (OpenVINO|PyTorch)",
        r"advised +--strategy adaptive: one look",
        r"time +very roughly \d+ s",
    ):
        assert re.search(f"^{line}", text, re.MULTILINE), (line, text)
    about = json.loads(run("info", image, "--bands", "5", "--range", "0,1000", "--nodata", "7", "--json").stdout)
    assert about["image"]["bands_seen"] == [5]
    assert about["image"]["value_range"] == [0, 1000]
    assert about["image"]["nodata"] == 7
    assert about["image"]["ground_share"] == 1
    assert about["plan"]["advised"] == "adaptive"
    assert "band" in one_line(run("info", image, "--bands", "6"))
    assert "--range must be two numbers" in one_line(run("count", image, "--range", "5"))


def test_networks_lists_every_network(run: Run) -> None:
    from gigacount.networks import NETWORKS

    listed = [json.loads(line)["network"] for line in run("networks", "--json").stdout.splitlines()]
    assert set(listed) == set(NETWORKS)


def test_version_and_help(run: Run) -> None:
    from gigacount import __version__

    assert run("--version").stdout == f"gigacount {__version__}\n"
    text = run("--help").stdout
    assert text == run("-h").stdout
    assert "count" in text
    assert "info" in text
    assert "--install-completion" in text


def test_the_help_of_a_command_has_panels_examples_and_no_python_types(run: Run) -> None:
    text = run("count", "--help").stdout
    panels = re.findall(r"^╭─ (.+?) ─", text, re.MULTILINE)
    assert panels == [
        "Arguments", "Options", "Output", "What to look at", "Network", "Reading", "Many images", "For experts"
    ]  # fmt: skip
    assert "\n   gigacount count photo.tif " in text
    flag, size = (re.search(rf"^│ {name} .*$", text, re.MULTILINE) for name in ("--overwrite", "--max-size"))
    assert flag is not None
    assert "<bool>" not in text
    assert size is not None
    assert "WIDTHxHEIGHT" in size[0]


def test_the_package_starts_as_a_program(tmp_path: Path) -> None:
    for command in (["--version"], ["count"]):
        done = subprocess.run([sys.executable, "-m", "gigacount", *command], capture_output=True, text=True)
        assert done.returncode == (0 if command == ["--version"] else 2)


def test_threads_get_their_turn_soon_and_the_end_is_not_spent_on_collecting_garbage() -> None:
    code = (
        "import atexit, gc, sys; from gigacount.cli import main; sys.argv[1:] = ['--version'];"
        "atexit.register(lambda: print(sys.getswitchinterval(), gc.get_freeze_count() > 10_000)); main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split()[-2:] == ["0.001", "True"]


def options_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> CountOptions:
    """What `gigacount count` makes of its arguments."""
    made: list[CountOptions] = []
    monkeypatch.setattr("gigacount.batch.CountWork", lambda options, *rest, **more: made.append(options))
    monkeypatch.setattr("gigacount.cli.batch.work_through", lambda *rest: 0)
    done = gigacount("count", "a.jpg", *arguments)
    assert done.returncode == 0, done.stderr
    return made[0]


def test_the_command_line_gives_the_options_of_the_dataclasses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options_of(monkeypatch) == CountOptions()
    given = options_of(
        monkeypatch, "--levels", "7", "--max-size", "640x480", "--scales", "1,1/3", "--absolute-threshold",
        "--scratch", "/tmp", "--range", "0,9", "--bands", "3", "--within", "5%", "--base", "1/8", "--depth", "2",
        "--set", "a=b", "--region", "r.geojson", "--metres-per-pixel", "0.5", "--trust-loaders"
    )  # fmt: skip
    assert (given.looking.levels, given.looking.max_size, given.looking.scales) == (7, (640, 480), (1, 1 / 3))
    assert (given.looking.peaks.relative, given.looking.within, given.looking.base) == (False, 5, 1 / 8)
    assert (given.reading.scratch_folder, given.reading.value_range) == (Path("/tmp"), (0, 9))
    assert (given.reading.bands, given.reading.trust_loaders) == ((3,), True)
    assert given.settings == ("a=b", "depth=2")
    assert given.regions is not None
    assert (given.regions.file, given.regions.metres_per_pixel) == (Path("r.geojson"), 0.5)


def test_an_option_that_belongs_to_another_says_so(run: Run, tmp_path: Path) -> None:
    done = run("count", "a.jpg", "--metres-per-pixel", "0.5")
    assert done.returncode == 2
    assert "--metres-per-pixel needs --region, which is missing" in one_line(done)


def test_values_are_parsed_or_explained() -> None:
    assert parse_size(" 640X480") == (640, 480)
    assert parse_numbers("1, 1/4,0.5") == (1, 0.25, 0.5)
    assert parse_choices("tif, json", "format", ("tif", "json")) == ("tif", "json")
    for text in ("640", "640x", "x480", "-1x5", "640x480x3"):
        with pytest.raises(UsageError, match="must look like"):
            parse_size(text)
    for text in ("", "1,,2", "a", "1/0"):
        with pytest.raises(UsageError, match="must be numbers"):
            parse_numbers(text)
    with pytest.raises(UnknownNameError, match="tif, json"):
        parse_choices("xls", "format", ("tif", "json"))


def test_a_folder_for_results_that_looks_like_a_file_is_refused(run: Run, tmp_path: Path) -> None:
    done = run("count", draw(tmp_path / "a.png"), "--out", tmp_path / "a.json")
    assert done.returncode == 2
    assert "--out is a folder for the results" in one_line(done)
    assert not (tmp_path / "a.json").exists()
