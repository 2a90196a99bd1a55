"""Every command that reads labelled sets says what was passed over, and follows labels out of them only if trusted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import save, scene

from gigacount.ablate.run import Ablation
from gigacount.cli.data import SceneSources
from gigacount.errors import DataError
from gigacount.evaluate.calibrate import chosen, images_at_all_scales
from gigacount.options import AblateOptions, CalibrateOptions, LabelOptions

Read = Callable[[str, Path, LabelOptions, Callable[[str], None]], int]
"""How many pictures a command takes from a data set; labels, and where it says something."""


def calibrating(spec: str, folder: Path, labels: LabelOptions, notify: Callable[[str], None]) -> int:
    options = CalibrateOptions((spec,), labels=labels)
    return sum(len(samples) for _, samples in chosen(options, notify))


def exporting(spec: str, folder: Path, labels: LabelOptions, notify: Callable[[str], None]) -> int:
    return len(images_at_all_scales([spec], "train", labels, notify))


def composing(spec: str, folder: Path, labels: LabelOptions, notify: Callable[[str], None]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[SceneSources.__module__], "say", notify)
        return len(SceneSources(photos=(spec,)).read(labels)[0])


def ablating(spec: str, folder: Path, labels: LabelOptions, notify: Callable[[str], None]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gigacount.ablate.run.Predictor", lambda *arguments, **options: None)
        return len(Ablation(AblateOptions(spec, folder / "out", labels=labels), notify).samples)


@pytest.mark.parametrize("read", [calibrating, exporting, composing, ablating])
def test_notices_and_paths(read: Read, tmp_path: Path) -> None:
    inside = tmp_path / "set"
    inside.mkdir()
    save(scene(64, 48), inside / "a.png")
    save(scene(64, 48), tmp_path / "b.png")
    labels = inside / "heads.csv"
    labels.write_text("image,x,y,class\na.png,5,6,person\na.png,9,9,bicycle\n")
    told: list[str] = []
    assert read(f"csv:{inside}", tmp_path, LabelOptions(), told.append) == 1
    assert any(line.startswith(f"csv:{inside}: 1 x shape left out; `gigacount data check") for line in told)
    labels.write_text("image,x,y\na.png,5,6\n../b.png,9,9\n")
    with pytest.raises(DataError, match=r"b\.png' is .* outside .*; move it there, or --trust-paths"):
        read(f"csv:{inside}", tmp_path, LabelOptions(), told.append)
    assert read(f"csv:{inside}", tmp_path, LabelOptions(trust_paths=True), told.append) == 2
