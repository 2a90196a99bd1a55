"""Which bands are seen, which values are black and white, and what is no ground; see docs/guide/pixels.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from image_files import Pixels, save, scene, vips_image
from numpy.typing import NDArray

from gigacount.errors import ImageError, UsageError
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage, ImageInfo, ReadOptions, source

WIDTH, HEIGHT = 480, 320
TILES: dict[str, Any] = {"tile": (64, 64), "compression": "deflate"}
STRIPS: dict[str, Any] = {"rowsperstrip": 32, "compression": "deflate"}


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    picture = scene(WIDTH, HEIGHT)
    picture[:32, :32], picture[-32:, -32:] = 1, 255  # so that it has the whole range of its type, but no zeros
    return picture


@pytest.fixture(params=["tiles", "strips"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How TIFF files are written, and by which way they are read."""
    if request.param == "strips":  # by way of the scratch file
        monkeypatch.setattr(source, "REDUCED_PIXELS", 10_000)
    return TILES if request.param == "tiles" else STRIPS


class Opened:
    """A picture as it is read whole: pixels, the share of ground, what is told about it."""

    def __init__(self, path: Path, **options: Any) -> None:
        with GigaImage.open(path, ReadOptions(**options)) as image:
            assert image.size_wh == (WIDTH, HEIGHT)
            self.pixels = image.read(whole(image.size_wh), image.size_wh)
            self.valid = image.valid(whole(image.size_wh), image.size_wh)
            coarse = image.valid(whole(image.size_wh), (60, 40))
            self.info: ImageInfo = image.info
            self.notes = " | ".join(image.notes)
            self.ground_share = image.ground_share
        assert (coarse is None) == (self.valid is None)
        if coarse is not None and self.valid is not None:
            assert coarse.shape == (40, 60)
            assert coarse.mean() == pytest.approx(self.valid.mean(), abs=0.01)

    def shows(self, expected: NDArray[Any], within: int = 1) -> None:
        assert np.abs(self.pixels.astype(int) - expected).max() <= within


def write(path: Path, array: NDArray[Any], layout: dict[str, Any], gdal: str = "", **options: Any) -> Path:
    """A TIFF, by default of grey levels and bands; `gdal`: items of GDAL's metadata."""
    extra = options.pop("extratags", [])
    if gdal:
        extra = [*extra, (42112, 2, 0, f"<GDALMetadata>{gdal}</GDALMetadata>", True)]
    options = {"photometric": "rgb" if array.ndim == 3 and array.shape[2] == 3 else "minisblack"} | options
    if array.ndim == 3:
        options["planarconfig"] = "contig"
    tifffile.imwrite(path, array, extratags=extra, metadata=None, **layout, **options)
    return path


def nodata_tag(text: str) -> list[tuple[Any, ...]]:
    return [(42113, 2, 0, text, True)]


def item(name: str, sample: int, value: str) -> str:
    return f'<Item name="{name}" sample="{sample}">{value}</Item>'


class TestBands:
    @pytest.mark.parametrize("near_infrared", [0, 40, 255])
    def test_a_band_of_unknown_kind_is_not_opacity(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, near_infrared: int
    ) -> None:
        more = np.full((HEIGHT, WIDTH, 1), near_infrared, np.uint8)
        options = {"photometric": "rgb", "extrasamples": ["unspecified"]}
        opened = Opened(write(tmp_path / "nir.tif", np.dstack([pixels, more]), layout, **options))
        opened.shows(pixels, 0)
        assert opened.valid is None
        assert (opened.info.bands, opened.info.bands_seen, opened.info.alpha) == (4, (1, 2, 3), None)
        assert "band 4 not looked at" in opened.notes
        deep = np.dstack([pixels, more]).astype(np.uint16) * 257
        Opened(write(tmp_path / "nir16.tif", deep, layout, **options)).shows(pixels)

    @pytest.mark.parametrize("count", [4, 5, 7])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_bands_without_names(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, count: int, dtype: Any
    ) -> None:
        bands = np.dstack([pixels, pixels, pixels])[:, :, :count].astype(dtype) * (257 if dtype is np.uint16 else 1)
        opened = Opened(write(tmp_path / "m.tif", bands, layout))
        opened.shows(pixels)
        assert opened.info.bands_seen == (1, 2, 3)

    @pytest.mark.parametrize("key", ["DESCRIPTION", "COLORINTERP"])
    def test_bands_by_name(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, key: str) -> None:
        """As multispectral cameras stack them: blue, green, red, red edge, near infrared."""
        names = ["Blue", "Green", "Red", "Red edge" if key == "DESCRIPTION" else "Undefined", "NIR"]
        bands = np.dstack([pixels[:, :, ::-1], pixels[:, :, 0] // 2, pixels[:, :, 1] // 3])
        gdal = "".join(item(key, band, name) for band, name in enumerate(names))
        opened = Opened(write(tmp_path / "named.tif", bands, layout, gdal))
        opened.shows(pixels, 0)
        assert opened.info.bands_seen == (3, 2, 1)
        assert "bands 3, 2, 1 are red, green and blue, as their names say" in opened.notes

    def test_chosen_bands(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        path = write(tmp_path / "m.tif", np.dstack([pixels[:, :, ::-1], pixels]), layout)
        Opened(path, bands=(3, 2, 1)).shows(pixels, 0)
        Opened(path, bands=(4, 5, 6)).shows(pixels, 0)
        Opened(path, bands=(5,)).shows(pixels[:, :, 1:2], 0)
        with pytest.raises(ImageError, match=r"m\.tif: has 6 bands, no band 7; choose others \(--bands\)"):
            Opened(path, bands=(7, 1, 1))

    def test_bands_of_other_formats_can_be_chosen(self, tmp_path: Path, pixels: Pixels) -> None:
        Opened(save(pixels, tmp_path / "p.png"), bands=(3, 1, 2)).shows(pixels[:, :, [2, 0, 1]], 0)

    def test_grey_and_another_band(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        both = np.dstack([pixels[:, :, 0], pixels[:, :, 1] // 4])
        opened = Opened(write(tmp_path / "two.tif", both, layout))
        opened.shows(pixels[:, :, :1], 0)
        assert opened.valid is None

    @pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
    def test_opacity_behind_another_band(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, kind: str
    ) -> None:
        alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
        alpha[:, :240] = 0
        bands = np.dstack([pixels, pixels[:, :, 1] // 2, alpha])
        opened = Opened(write(tmp_path / "a.tif", bands, layout, photometric="rgb", extrasamples=["unspecified", kind]))
        opened.shows(np.where(alpha[:, :, None] > 0, pixels, 255), 0)
        assert opened.info.alpha == 5
        assert opened.ground_share == 0.5

    def test_colours_that_are_multiplied_by_opacity(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels
    ) -> None:
        share = np.full((HEIGHT, WIDTH, 1), 0.5)
        share[:80], share[80:160] = 0, 1
        bands = np.round(np.dstack([pixels * share, 255 * share])).astype(np.uint8)
        path = write(tmp_path / "a.tif", bands, layout, photometric="rgb", extrasamples=["assocalpha"])
        Opened(path).shows(pixels * share + 255 * (1 - share), 2)

    def test_opacity_by_name(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
        alpha[:80] = 0
        path = write(tmp_path / "a.tif", np.dstack([pixels, alpha]), layout, item("COLORINTERP", 3, "Alpha"))
        assert Opened(path).info.alpha == 4
        assert Opened(path).ground_share == 0.75

    @pytest.mark.parametrize(
        "gdal",
        [
            "<Item",
            "<!DOCTYPE a [<!ENTITY b 'c'>]>&b;",
            item("DESCRIPTION", 9, "Red"),
            item("DESCRIPTION", 0, "r\u00e9d"),
            "\0",
        ],
    )
    def test_damaged_names_count_as_none(self, tmp_path: Path, pixels: Pixels, gdal: str) -> None:
        extra = [(42112, 2, 0, f"<GDALMetadata>{gdal}</GDALMetadata>".encode(), True)]
        Opened(write(tmp_path / "x.tif", pixels, TILES, extratags=extra)).shows(pixels, 0)

    @pytest.mark.parametrize("bands", [(), (1, 2), (0, 1, 2), (1, 2, 3, 4)])
    def test_impossible_choices(self, bands: tuple[int, ...]) -> None:
        with pytest.raises(UsageError, match="bands must be"):
            ReadOptions(bands=bands)


class TestRange:
    @pytest.mark.parametrize("top", [255, 1000, 1023, 4095, 10_000, 16_383, 20_000])
    @pytest.mark.parametrize("kind", ["rgb", "grey"])
    def test_a_part_of_sixteen_bits(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, top: int, kind: str
    ) -> None:
        eight = pixels if kind == "rgb" else pixels[:, :, 1]
        opened = Opened(write(tmp_path / "p.tif", np.round(eight / 255 * top).astype(np.uint16), layout))
        assert opened.info.range_from == "pixels"
        assert opened.info.value_range is not None
        low, high = opened.info.value_range
        assert low == 0
        assert high == pytest.approx(top, rel=0.08)
        expected = eight / 255 * top / high * 255
        opened.shows(np.atleast_3d(np.minimum(expected, 255)), 2)
        assert f"values from 0 to {high:g} are shown from black to white" in opened.notes

    @pytest.mark.parametrize("name", ["p.png", "p.tif"])
    def test_sixteen_bits_of_other_formats(self, tmp_path: Path, pixels: Pixels, name: str) -> None:
        deep = np.round(pixels / 255 * 4095).astype(np.uint16)
        vips_image(deep).copy(interpretation="rgb16").write_to_file(str(tmp_path / name))
        Opened(tmp_path / name).shows(pixels)

    def test_the_whole_of_sixteen_bits_stays(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        for share in (1.0, 0.6):  # a dim picture is no other range
            opened = Opened(write(tmp_path / "p.tif", (pixels * share * 257).astype(np.uint16), layout))
            opened.shows(np.round(pixels * share))
            assert (opened.info.value_range, opened.notes) == (None, "")

    def test_hot_pixels_do_not_darken_the_rest(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        deep = np.round(pixels / 255 * 4095).astype(np.uint16)
        deep[100, 10:20] = 65_535
        opened = Opened(write(tmp_path / "p.tif", deep, layout))
        assert opened.info.value_range == (0, 4095)

    def test_values_far_from_zero(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        grey = pixels[:, :, 0].astype(float)
        opened = Opened(write(tmp_path / "p.tif", (5000 + grey / 255 * 4000).astype(np.uint16), layout))
        assert opened.info.value_range is not None
        low, high = opened.info.value_range
        assert 5000 <= low < 5700
        assert 8200 < high <= 9000
        assert np.corrcoef(opened.pixels[:, :, 0].ravel(), grey.ravel())[0, 1] > 0.99

    @pytest.mark.parametrize(("low_tag", "high_tag"), [(280, 281), (340, 341)])
    def test_tags_are_heeded(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, low_tag: int, high_tag: int
    ) -> None:
        """Although the pixels, which are dark, would say otherwise."""
        dark = np.round(pixels / 4).astype(np.uint16)
        tagged = [(low_tag, 3, 3, (0,) * 3, True), (high_tag, 3, 3, (255,) * 3, True)]
        opened = Opened(write(tmp_path / "p.tif", dark, layout, extratags=tagged))
        opened.shows(dark)
        assert (opened.info.value_range, opened.info.range_from) == ((0, 255), "tags")
        assert "as its tags say" in opened.notes

    def test_tags_that_say_nothing(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        """The whole range of the type, which many writers put down; nothing between its ends; what is no number."""
        twelve = np.round(pixels / 255 * 4095).astype(np.uint16)
        for low, high in ((0, 65_535), (9, 9), (4095, 0)):
            tagged = [(280, 3, 3, (low,) * 3, True), (281, 3, 3, (high,) * 3, True)]
            Opened(write(tmp_path / "p.tif", twelve, layout, extratags=tagged)).shows(pixels)
        tagged = [(340, 11, 3, (float("nan"),) * 3, True), (341, 11, 3, (float("inf"),) * 3, True)]
        Opened(write(tmp_path / "p.tif", twelve, layout, extratags=tagged)).shows(pixels)

    def test_statistics(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        dark = np.round(pixels / 4).astype(np.uint16)
        least, most = item("STATISTICS_MINIMUM", 0, "3"), item("STATISTICS_MAXIMUM", 0, "255")
        gdal = "".join(part.replace('"0"', f'"{band}"') for band in range(3) for part in (least, most))
        opened = Opened(write(tmp_path / "p.tif", dark, layout, gdal))
        opened.shows(dark)
        assert opened.info.range_from == "statistics"

    @pytest.mark.parametrize("top", [0.01, 100, 255, 65_535])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_floating_point(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, top: float, dtype: Any
    ) -> None:
        if dtype is np.float16 and top > 60_000:
            top = 60_000  # halves end at 65,504
        opened = Opened(write(tmp_path / "f.tif", (pixels / 255 * top).astype(dtype), layout))
        assert opened.info.value_range is not None
        assert opened.info.value_range[1] == pytest.approx(top, rel=0.1)
        opened.shows(pixels * (top / opened.info.value_range[1]), 2)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_linear_light_stays(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, dtype: Any) -> None:
        linear = np.where(pixels <= 10, pixels / 255 / 12.92, ((pixels / 255 + 0.055) / 1.055) ** 2.4)
        opened = Opened(write(tmp_path / "f.tif", linear.astype(dtype), layout))
        opened.shows(pixels)
        assert opened.info.value_range is None

    @pytest.mark.parametrize(
        ("dtype", "low", "high"),
        [
            (np.int8, -128, 127),
            (np.int16, -1000, 1000),
            (np.int16, 0, 4000),
            (np.uint32, 0, 255),
            (np.int32, 0, 70_000),
        ],
    )
    def test_other_integers(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, dtype: Any, low: int, high: int
    ) -> None:
        opened = Opened(write(tmp_path / "i.tif", np.round(low + pixels / 255.0 * (high - low)).astype(dtype), layout))
        found = opened.pixels.astype(float)
        assert np.corrcoef(found.ravel(), pixels.ravel())[0, 1] > 0.995
        assert np.abs(found.mean() - pixels.mean()) < 16

    def test_a_range_that_is_asked_for(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        path = write(tmp_path / "p.tif", pixels.astype(np.uint16) * 10 + 500, layout)
        opened = Opened(path, value_range=(500.0, 3050.0))
        opened.shows(pixels)
        assert (opened.info.value_range, opened.info.range_from) == ((500, 3050), "--range")
        eight = write(tmp_path / "eight.tif", pixels, layout)
        Opened(eight, value_range=(50.0, 150.0)).shows(np.clip((pixels - 50.0) * 2.55, 0, 255))
        Opened(eight, value_range=(0.0, 255.0)).shows(pixels, 0)

    def test_no_range_of_inks(self, tmp_path: Path, pixels: Pixels) -> None:
        vips_image(pixels).icc_transform("cmyk", input_profile="srgb").tiffsave(str(tmp_path / "c.tif"))
        with pytest.raises(ImageError, match=r"c\.tif: --range and --nodata are for grey, RGB and bands, not for cmyk"):
            Opened(tmp_path / "c.tif", value_range=(0.0, 100.0))
        assert Opened(tmp_path / "c.tif", bands=(1,), value_range=(0.0, 100.0)).info.bands_seen == (1,)

    @pytest.mark.parametrize("span", [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)])
    def test_impossible_ranges(self, span: tuple[float, float]) -> None:
        with pytest.raises(UsageError, match="range must be"):
            ReadOptions(value_range=span)

    @pytest.mark.parametrize(("value", "what"), [(0, "black"), (9, "black"), (255, "white")])
    def test_all_but_black_or_white_is_said(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, value: int, what: str
    ) -> None:
        plain = np.full_like(pixels, value)
        plain[:5, :5] = 128
        assert f"nearly all {what}" in Opened(write(tmp_path / "b.tif", plain, layout)).notes
        assert Opened(write(tmp_path / "c.tif", pixels, layout)).notes == ""

    def test_one_value(self, layout: dict[str, Any], tmp_path: Path) -> None:
        plain = np.full((HEIGHT, WIDTH), 700, np.uint16)
        assert "the image is nearly all black" in Opened(write(tmp_path / "b.tif", plain, layout)).notes

    def test_damage_does_not_hide_the_range(self, tmp_path: Path, pixels: Pixels) -> None:
        twelve = np.round(pixels / 255 * 4095).astype(np.uint16)
        path = write(tmp_path / "p.tif", twelve, TILES)
        with tifffile.TiffFile(path) as file:
            offset, size = (numbers[7] for numbers in (file.pages[0].dataoffsets, file.pages[0].databytecounts))
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(b"\xff" * size)
        with pytest.raises(ImageError, match="damaged"):
            Opened(path)
        opened = Opened(path, allow_damaged=True)
        assert opened.info.value_range == (0, 4095)
        assert np.abs(opened.pixels.astype(int) - pixels).mean() < 5


def half_masked(path: Path, pixels: Pixels, ground: NDArray[np.bool_], layout: dict[str, Any], **options: Any) -> Path:
    """A picture with a mask inside its file."""
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, photometric="rgb", metadata=None, **layout, **options)
        file.write(ground, photometric=4, subfiletype=4, metadata=None, **layout)
    return path


@pytest.fixture(scope="module")
def ground() -> NDArray[np.bool_]:
    """A slanted edge, which no tile or strip follows."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return x + y // 2 < 300


@pytest.fixture(scope="module")
def expected(pixels: Pixels, ground: NDArray[np.bool_]) -> Pixels:
    return np.where(ground[:, :, None], pixels, np.uint8(255))


class TestGround:
    """However a file says where it has no ground, it is white there, and nobody is counted."""

    def agrees(self, opened: Opened, expected: Pixels, ground: NDArray[np.bool_]) -> None:
        opened.shows(expected)
        assert opened.valid is not None
        assert opened.valid.dtype == np.float32
        assert np.abs(opened.valid - ground).max() < 0.01
        assert opened.ground_share == pytest.approx(ground.mean(), abs=0.01)
        assert "nobody is counted there" in opened.notes

    def test_opacity(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, ground: NDArray[np.bool_], expected: Pixels
    ) -> None:
        alpha = ground.astype(np.uint8) * 255
        options = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
        self.agrees(Opened(write(tmp_path / "a.tif", np.dstack([pixels, alpha]), layout, **options)), expected, ground)
        for top in (255, 4095, 65_535):  # what is opaque in 16 bits is a matter of taste
            both = np.dstack([pixels / 255 * 4095, ground * float(top)]).round().astype(np.uint16)
            self.agrees(Opened(write(tmp_path / "d.tif", both, layout, **options)), expected, ground)

    @pytest.mark.parametrize("name", ["a.png", "a.webp"])
    def test_opacity_in_other_formats(
        self, tmp_path: Path, pixels: Pixels, ground: NDArray[np.bool_], expected: Pixels, name: str
    ) -> None:
        both = np.dstack([pixels, ground.astype(np.uint8) * 255])
        options: dict[str, Any] = {"lossless": True, "exact": True} if name == "a.webp" else {}
        self.agrees(Opened(save(both, tmp_path / name, **options)), expected, ground)

    def test_a_mask_in_the_file(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, ground: NDArray[np.bool_], expected: Pixels
    ) -> None:
        opened = Opened(half_masked(tmp_path / "m.tif", pixels, ground, layout))
        self.agrees(opened, expected, ground)
        assert opened.info.mask
        assert len(opened.info.level_sizes) == 1  # a mask is no overview

    @pytest.mark.parametrize("with_masks", [True, False])
    def test_a_mask_and_overviews(
        self, tmp_path: Path, pixels: Pixels, ground: NDArray[np.bool_], expected: Pixels, with_masks: bool
    ) -> None:
        """Coarse looks heed the mask, whether it has overviews of its own or not."""
        with tifffile.TiffWriter(tmp_path / "m.tif") as file:
            file.write(pixels, photometric="rgb", metadata=None, **TILES)
            file.write(ground, photometric=4, subfiletype=4, metadata=None, **TILES)
            half = pixels.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
            file.write(half, photometric="rgb", subfiletype=1, metadata=None, **TILES)
            if with_masks:
                file.write(ground[::2, ::2], photometric=4, subfiletype=5, metadata=None, **TILES)
        opened = Opened(tmp_path / "m.tif")
        self.agrees(opened, expected, ground)
        assert len(opened.info.level_sizes) == (2 if with_masks else 1)
        with GigaImage.open(tmp_path / "m.tif") as image:
            coarse = image.read(whole(image.size_wh), (120, 80))
        means = expected.reshape(80, 4, 120, 4, 3).mean(axis=(1, 3))
        assert np.abs(coarse - means).mean() < 3

    @pytest.mark.parametrize("orientation", [1, 3, 6, 7])
    def test_turned(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, ground: NDArray[np.bool_], orientation: int
    ) -> None:
        """The ground is turned as the picture is."""
        tags = [(274, 3, 1, orientation, True)]
        path = half_masked(tmp_path / "m.tif", pixels, ground, layout, extratags=tags)
        with GigaImage.open(path) as image:
            window = Window(64, 16, 240, 240)
            shown, valid = image.read(window, (240, 240)), image.valid(window, (240, 240))
        with GigaImage.open(path) as image:
            everything = image.valid(whole(image.size_wh), image.size_wh)
        assert valid is not None
        assert everything is not None
        assert (valid == everything[16:256, 64:304]).all()
        assert (shown[valid < 0.01] > 250).all()
        assert everything.shape == ((WIDTH, HEIGHT) if orientation > 4 else (HEIGHT, WIDTH))
        corner = {1: (-1, -1), 3: (0, 0), 6: (-1, 0), 7: (0, 0)}[
            orientation
        ]  # where the stored last pixel comes to lie
        assert everything[corner] == 0

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    @pytest.mark.parametrize("text", ["0", "0.0 ", "255"])
    def test_a_value_that_is_none(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, ground: NDArray[np.bool_], dtype: Any, text: str
    ) -> None:
        inside = np.clip(pixels, 1, 254)
        values = np.where(ground[:, :, None], inside, float(text)).astype(dtype)
        expected = np.where(ground[:, :, None], inside, np.uint8(255))
        opened = Opened(write(tmp_path / "n.tif", values, layout, extratags=nodata_tag(text)))
        self.agrees(opened, expected, ground)
        assert opened.info.nodata == float(text)

    @pytest.mark.parametrize(
        ("value", "text"), [(-9999.0, "-9999"), (-3.4028234663852886e38, "-3.40282e+38"), (np.nan, "nan"), (0.1, "0.1")]
    )
    def test_floating_point_that_is_none(
        self,
        layout: dict[str, Any],
        tmp_path: Path,
        pixels: Pixels,
        ground: NDArray[np.bool_],
        expected: Pixels,
        value: float,
        text: str,
    ) -> None:
        values = np.where(ground[:, :, None], pixels, value).astype(np.float32)
        self.agrees(Opened(write(tmp_path / "n.tif", values, layout, extratags=nodata_tag(text))), expected, ground)

    def test_a_value_that_the_user_says(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, ground: NDArray[np.bool_], expected: Pixels
    ) -> None:
        values = np.where(ground[:, :, None], pixels, np.uint8(0))
        path = write(tmp_path / "n.tif", values, layout)
        assert Opened(path).valid is None
        self.agrees(Opened(path, nodata=0.0), expected, ground)
        self.agrees(Opened(save(values, tmp_path / "n.png"), nodata=0.0), expected, ground)

    @pytest.mark.parametrize("text", ["", "x", "1e999", "-9999", "9" * 5000, "0 0 0", "\0"])
    def test_values_that_no_pixel_has(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, text: str) -> None:
        opened = Opened(write(tmp_path / "n.tif", pixels, layout, extratags=nodata_tag(text)))
        opened.shows(pixels, 0)
        assert opened.ground_share == 1

    def test_one_band_of_that_value_is_ground(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        red = pixels.copy()
        red[:, :, 1] = 0
        opened = Opened(write(tmp_path / "n.tif", red, layout, extratags=nodata_tag("0")))
        opened.shows(red, 0)
        assert opened.ground_share == 1

    def test_no_ground_at_all(self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels) -> None:
        empty = np.zeros_like(pixels)
        opened = Opened(write(tmp_path / "n.tif", empty, layout, extratags=nodata_tag("0")))
        assert "the whole image is transparent, masked or nodata" in opened.notes
        assert opened.ground_share == 0

    def test_tiles_that_are_left_out(self, tmp_path: Path, pixels: Pixels) -> None:
        """As GDAL leaves out tiles of nodata: byte counts of 0."""
        alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
        path = tmp_path / "s.tif"
        write(path, np.dstack([pixels, alpha]), TILES, photometric="rgb", extrasamples=["unassalpha"])
        with tifffile.TiffFile(path) as file:
            tags = [file.pages[0].tags[name] for name in ("TileOffsets", "TileByteCounts")]
        with path.open("r+b") as file:
            for tag in tags:
                width = 4 if tag.dtype == 4 else 2
                file.seek(tag.valueoffset)
                file.write(bytes(width))
        opened = Opened(path)
        assert opened.valid is not None
        assert (opened.valid[:64, :64] == 0).all()
        assert (opened.pixels[:64, :64] == 255).all()
        assert (opened.valid[64:] == 1).all()

    def test_windows_agree_with_the_whole(
        self, layout: dict[str, Any], tmp_path: Path, pixels: Pixels, ground: NDArray[np.bool_]
    ) -> None:
        path = half_masked(tmp_path / "m.tif", pixels, ground, layout)
        with GigaImage.open(path) as image:
            image.prepare(5)
            for window in (Window(0, 0, 160, 160), Window(200, 96, 240, 160), Window(472, 312, 8, 8)):
                valid = image.valid(window, window.size_wh)
                part = ground[window.top : window.bottom, window.left : window.right]
                assert valid is not None
                assert np.abs(valid - part).max() < 0.01
                image.read(window, (window.width // 4, window.height // 4))
                cells = image.valid(window, (window.width // 8, window.height // 8))
                assert cells is not None
                assert cells.mean() == pytest.approx(part.mean(), abs=0.02)

    def test_a_damaged_mask(self, tmp_path: Path, pixels: Pixels, ground: NDArray[np.bool_]) -> None:
        path = half_masked(tmp_path / "m.tif", pixels, ground, TILES)
        with tifffile.TiffFile(path) as file:
            mask = file.pages[1]
            offset, size = mask.dataoffsets[0], mask.databytecounts[0]
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(b"\xff" * size)
        with pytest.raises(ImageError, match=r"m\.tif: damaged or cut short \(its mask"):
            Opened(path)
        opened = Opened(path, allow_damaged=True)
        assert opened.valid is not None
        assert (opened.valid[:64, :64] == 1).all()  # where nothing is known, it is ground

    def test_a_mask_beside_the_file_is_named(self, tmp_path: Path, pixels: Pixels) -> None:
        path = write(tmp_path / "m.tif", pixels, TILES)
        (tmp_path / "m.tif.msk").write_bytes(b"whatever")
        assert "the mask beside it (m.tif.msk) cannot be read and is not used" in Opened(path).notes

    @pytest.mark.parametrize("nodata", [float("nan"), float("inf")])
    def test_impossible_values(self, nodata: float) -> None:
        with pytest.raises(UsageError, match="nodata must be a finite number"):
            ReadOptions(nodata=nodata)
