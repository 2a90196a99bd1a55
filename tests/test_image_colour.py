"""Pixels of every kind end as the sRGB picture that a viewer shows, held in memory or decoded into the scratch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from image_files import Pixels, save, scene, vips_image
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage, source
from gigacount.image.colour import store
from gigacount.image.samples import Kind, Samples
from gigacount.image.vips import VipsError

WIDTH, HEIGHT = 480, 320
Read = Callable[[Path], Pixels]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return scene(WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def grey(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[:, :, :1])


@pytest.fixture(params=["in memory", "scratch"])
def read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Read:
    if request.param == "scratch":
        monkeypatch.setattr(source, "REDUCED_PIXELS", 10_000)

    def read_whole(path: Path) -> Pixels:
        with GigaImage.open(path) as image:
            coarse = image.read(whole(image.size_wh), (48, 32))
            full = image.read(whole(image.size_wh), image.size_wh)
        assert full.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(coarse.mean(axis=(0, 1)) - full.mean(axis=(0, 1))).max() < 2
        return full

    return read_whole


def difference(one: NDArray[np.generic], two: NDArray[np.generic]) -> int:
    return int(np.abs(one.astype(int) - two.astype(int)).max())


class TestKinds:
    @pytest.mark.parametrize("name", ["g.png", "g.tif", "g.jpg", "tiles.tif"])
    def test_grey(self, read: Read, tmp_path: Path, grey: Pixels, name: str) -> None:
        found = read(save(grey, tmp_path / name, tile=True) if name == "tiles.tif" else save(grey, tmp_path / name))
        assert difference(found, grey) <= (12 if name == "g.jpg" else 0)

    def test_palette(self, read: Read, tmp_path: Path) -> None:
        colours = np.array([[250, 20, 30], [10, 200, 60], [30, 40, 220], [255, 255, 255]], np.uint8)
        numbers = (np.indices((HEIGHT, WIDTH)).sum(axis=0) // 40 % 4).astype(np.uint8)
        path = save(colours[numbers], tmp_path / "p.png", palette=True, bitdepth=2)
        assert difference(read(path), colours[numbers]) <= 1
        tiff = tmp_path / "p.tif"
        table = np.zeros((3, 256), np.uint16)
        table[:, :4] = colours.T.astype(np.uint16) * 257
        tifffile.imwrite(tiff, numbers, photometric="palette", colormap=table)
        assert difference(read(tiff), colours[numbers]) <= 1
        gif = save(colours[numbers], tmp_path / "p.gif", dither=0)
        assert difference(read(gif), colours[numbers]) <= 8

    def test_one_bit(self, read: Read, tmp_path: Path) -> None:
        bits = np.indices((HEIGHT, WIDTH)).sum(axis=0) // 30 % 2
        for name in ("b.png", "b.tif"):
            path = save((bits * 255).astype(np.uint8)[:, :, None], tmp_path / name, bitdepth=1)
            assert difference(read(path), (bits * 255)[:, :, None]) == 0
        white_is_zero = tmp_path / "w.tif"
        tifffile.imwrite(white_is_zero, ((1 - bits) * 255).astype(np.uint8), photometric="miniswhite")
        assert difference(read(white_is_zero), (bits * 255)[:, :, None]) == 0

    @pytest.mark.parametrize("name", ["d.png", "d.tif", "tiles.tif"])
    def test_sixteen_bits(self, read: Read, tmp_path: Path, pixels: Pixels, grey: Pixels, name: str) -> None:
        options: dict[str, object] = {"tile": True, "pyramid": True} if name == "tiles.tif" else {}
        for eight, kind in ((pixels, "rgb16"), (grey, "grey16")):
            deep = vips_image(eight.astype(np.uint16) * 257).copy(interpretation=kind)
            deep.write_to_file(str(tmp_path / name), **options)
            assert difference(read(tmp_path / name), eight) <= 1

    def test_floating_point_is_linear_light(self, read: Read, tmp_path: Path) -> None:
        """Half the light is 188 of 255 in sRGB, a fifth 124; more than white is white."""
        light = np.zeros((HEIGHT, WIDTH), np.float32)
        light[:, 100:200], light[:, 200:300], light[:, 300:] = 0.2, 0.5, 3
        expected = np.select([light == 0, light < 0.3, light < 0.6], [0, 124, 188], 255)[:, :, None]
        tifffile.imwrite(tmp_path / "grey.tif", light, photometric="minisblack")
        tifffile.imwrite(tmp_path / "rgb.tif", np.dstack([light] * 3), photometric="rgb")
        for name in ("grey.tif", "rgb.tif"):
            found = read(tmp_path / name)
            assert difference(found[:, 20:80], expected[:, 20:80]) <= 1
            assert difference(found[:, 120:180], expected[:, 120:180]) <= 1
            assert difference(found[:, 220:280], expected[:, 220:280]) <= 1
            assert difference(found[:, 320:], expected[:, 320:]) <= 1

    def test_other_integers_count_to_their_largest_value(self, read: Read, tmp_path: Path, grey: Pixels) -> None:
        for kind, largest in ((np.uint32, 2**32 - 1), (np.int16, 2**15 - 1), (np.int32, 2**31 - 1)):
            values = (grey[:, :, 0].astype(np.float64) / 255 * largest).astype(kind)
            tifffile.imwrite(tmp_path / "i.tif", values, photometric="minisblack")
            assert difference(read(tmp_path / "i.tif"), grey) <= 1

    def test_transparent_parts_lie_on_white(self, read: Read, tmp_path: Path, pixels: Pixels, grey: Pixels) -> None:
        alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
        alpha[:, WIDTH // 2 :] = 255
        alpha[: HEIGHT // 2] = 128
        for colour in (pixels, grey):
            expected = (colour.astype(float) * alpha + 255.0 * (255 - alpha)) / 255
            for name in ("a.png", "a.tif", "a.webp"):
                if name == "a.webp":
                    path = save(np.dstack([colour, alpha]), tmp_path / name, lossless=True, exact=True)
                else:
                    path = save(np.dstack([colour, alpha]), tmp_path / name)
                assert difference(read(path), expected) <= 1
            deep = np.dstack([colour, alpha]).astype(np.uint16) * 257
            vips_image(deep).copy(interpretation="rgb16" if colour is pixels else "grey16").pngsave(
                str(tmp_path / "deep.png")
            )
            assert difference(read(tmp_path / "deep.png"), expected) <= 1

    def test_more_than_four_bands(self, read: Read, tmp_path: Path, pixels: Pixels) -> None:
        bands = np.dstack([pixels, pixels])
        tifffile.imwrite(tmp_path / "m.tif", bands, photometric="minisblack", planarconfig="contig")
        assert difference(read(tmp_path / "m.tif"), pixels) == 0
        tifffile.imwrite(
            tmp_path / "m16.tif", bands.astype(np.uint16) * 257, photometric="minisblack", planarconfig="contig"
        )
        assert difference(read(tmp_path / "m16.tif"), pixels) <= 1

    def test_lab(self, read: Read, tmp_path: Path, pixels: Pixels) -> None:
        vips_image(pixels).colourspace("lab").tiffsave(str(tmp_path / "lab.tif"))
        assert difference(read(tmp_path / "lab.tif"), pixels) <= 3

    def test_complex_numbers_are_no_picture(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "c.tif", np.ones((64, 64), np.complex64), photometric="minisblack")
        with pytest.raises(ImageError, match="complex") as caught:
            GigaImage.open(tmp_path / "c.tif")
        assert "\n" not in str(caught.value)
        black = pyvips.Image.black(4, 4)
        with pytest.raises(VipsError, match="complex"):
            store(black.complexform(black), Samples(Kind("dpcomplex", 1, True), (0,)))

    def test_avif(self, tmp_path: Path) -> None:
        small = scene(160, 120)
        save(small, tmp_path / "s.avif", Q=95, compression="av1", effort=0, subsample_mode="off")
        with GigaImage.open(tmp_path / "s.avif") as image:
            assert np.abs(image.read(Window(9, 7, 100, 90), (100, 90)).astype(int) - small[7:97, 9:109]).mean() < 2


class TestProfiles:
    """A profile changes what numbers mean; the picture that is seen stays."""

    @pytest.mark.parametrize("name", ["p.jpg", "p.png", "p.tif", "p.webp", "tiles.tif"])
    def test_wide_gamut(self, read: Read, tmp_path: Path, pixels: Pixels, name: str) -> None:
        converted = vips_image(pixels).icc_transform("p3", input_profile="srgb")
        options: dict[str, dict[str, object]] = {
            "p.jpg": {"Q": 97, "subsample_mode": "off"},
            "p.webp": {"lossless": True},
            "tiles.tif": {"tile": True, "pyramid": True},
        }
        converted.write_to_file(str(tmp_path / name), **options.get(name, {}))
        stored = converted.numpy()
        assert difference(stored, pixels) > 15  # so that ignoring the profile would show
        with GigaImage.open(tmp_path / name) as image:
            assert image.info.icc
        found = np.abs(read(tmp_path / name).astype(int) - pixels)
        assert found.mean() < 1.5
        assert np.quantile(found, 0.999) <= 6

    def test_sixteen_bits_with_a_profile(self, read: Read, tmp_path: Path, pixels: Pixels) -> None:
        deep = vips_image(pixels).icc_transform("p3", input_profile="srgb", depth=16)
        deep.write_to_file(str(tmp_path / "deep.tif"))
        assert difference(read(tmp_path / "deep.tif"), pixels) <= 3

    @pytest.mark.parametrize("name", ["c.jpg", "c.tif"])
    @pytest.mark.parametrize("embedded", [True, False])
    def test_cmyk(self, read: Read, tmp_path: Path, name: str, embedded: bool) -> None:
        patches = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        patches[:, :160], patches[:, 160:320], patches[:, 320:] = (255, 255, 255), (200, 60, 50), (70, 70, 70)
        ink = vips_image(patches).icc_transform("cmyk", input_profile="srgb")
        assert ink.bands == 4
        options: dict[str, object] = {} if embedded else {"keep": "none"}
        ink.write_to_file(str(tmp_path / name), **options)
        found = read(tmp_path / name)
        for columns in (slice(20, 140), slice(180, 300), slice(340, 460)):
            assert difference(found[:, columns], patches[:, columns]) <= 12
        with GigaImage.open(tmp_path / name) as image:
            assert image.info.colour == "CMYK"

    def test_a_profile_of_another_kind_of_picture_is_ignored(
        self, read: Read, tmp_path: Path, pixels: Pixels, grey: Pixels
    ) -> None:
        cmyk = vips_image(pixels).icc_transform("cmyk", input_profile="srgb").get("icc-profile-data")
        for stored, profile in ((pixels, cmyk), (pixels, b"no profile at all"), (grey, cmyk)):
            image = vips_image(stored).copy()
            image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
            image.tiffsave(str(tmp_path / "odd.tif"))
            assert difference(read(tmp_path / "odd.tif"), stored) == 0


def test_nothing_is_printed(tmp_path: Path, pixels: Pixels, capfd: pytest.CaptureFixture[str]) -> None:
    """libvips' and its libraries' warnings do not reach the terminal: unknown tags, odd profiles, cut-short data."""
    path = tmp_path / "tags.tif"
    tags = [(65000, "s", 0, "hello", True), (65001, "I", 1, 7, True)]
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", extratags=tags)
    image = vips_image(pixels).copy()
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", b"no profile at all")
    image.jpegsave(str(tmp_path / "profile.jpg"))
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((tmp_path / "profile.jpg").read_bytes()[:9000])
    for name in ("tags.tif", "profile.jpg", "cut.jpg"):
        try:
            with GigaImage.open(tmp_path / name) as opened:
                opened.read(Window(0, 0, WIDTH, HEIGHT), (60, 40))
        except ImageError:
            assert name == "cut.jpg"
    assert capfd.readouterr() == ("", "")
