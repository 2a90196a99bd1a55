"""Results that stand already: reused where they are what is asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigacount.key import RunKey, is_same_image
from gigacount.output.folder import ResultFolder


@dataclass(frozen=True)
class Wanted:
    """What is asked of a result: its key, formats, and whether heads are located."""

    key: RunKey
    formats: Collection[str] = ()
    locate: bool = False

    def differences(self, folder: ResultFolder, image: Path) -> list[str]:
        """In what a finished result of this picture differs from what is asked for, as `option: stored -> wanted`.

        Empty where there is none, or the picture has changed since. Raises ImageError where the picture is missing.
        """
        content = _of_same_image(folder, image)
        return [] if content is None else self._differences(content)

    def finished(self, folder: ResultFolder, image: Path) -> dict[str, Any] | None:
        """The content of a finished result of this picture that is what is asked for; None where there is none.

        Raises ImageError where the picture is missing.
        """
        content = _of_same_image(folder, image)
        return None if content is None or self._differences(content) else content

    def _differences(self, content: dict[str, Any]) -> list[str]:
        differences = self.key.differences(content)
        there = {"json", *content["formats"]}
        if missing := [name for name in self.formats if name not in there]:
            differences.append(f"formats: {', '.join(sorted(there))} -> {', '.join(missing)}")
        if self.locate and "located" not in content:
            differences.append("heads: not located -> located")
        return differences


def _of_same_image(folder: ResultFolder, image: Path) -> dict[str, Any] | None:
    content = folder.finished()
    return content if content is not None and is_same_image(image, content["image"]) else None
