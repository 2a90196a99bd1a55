"""What decides a result: one key. Equal keys and equal images give equal counts; nothing else decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from gigacount.errors import ImageError, UsageError
from gigacount.image.sidecar import sidecars
from gigacount.networks import find_record
from gigacount.networks.record import NetworkRecord
from gigacount.options import CountOptions, PeakOptions, ReadOptions, RegionOptions, StrategyOptions
from gigacount.options.option import Option

COUNTING_RULES = 5
"""To be raised with every change of this program that changes counts for equal options and weights."""

DESCRIPTIVE = ("folder", "training", "errors", "about", "licence", "paper")
"""Fields of a network's record that cannot change a count."""

HASHED_BYTES = 2**28
"""The largest file that is known again by its content. Larger ones are known by size and time of change alone."""

Plain = dict[str, Any]
"""Values as JSON has them."""


def records_of(options: CountOptions) -> dict[str, NetworkRecord]:
    """Role -> record of the networks in use. Raises UnknownNameError and WeightsError where one is not there."""
    names = {"network": options.network, "coarse_network": options.coarse_network}
    return {role: find_record(name) for role, name in names.items() if name is not None}


def looking_of(options: CountOptions, records: Mapping[str, NetworkRecord]) -> StrategyOptions:
    """Where to look, with what the records of the networks say where the options leave it open."""
    looking, record = options.looking, records["network"]
    enlarge = record.enlarge if looking.enlarge is None else looking.enlarge
    return replace(looking, enlarge=enlarge, resolution=looking.resolution or record.resolution)


@dataclass(frozen=True)
class RunKey:
    """All that decides a result but the image itself.

    options: without those that cannot change a result. networks: role -> name, hash of the weights, hash of the record.
    rules: COUNTING_RULES.
    """

    options: Plain
    networks: Plain
    rules: int = COUNTING_RULES

    @classmethod
    def of(cls, options: CountOptions, records: Mapping[str, NetworkRecord]) -> RunKey:
        """Of options and the records of their networks (`records_of`). Raises UsageError for a missing regions file."""
        return cls(plain_options(options), {role: record_identity(record) for role, record in records.items()})

    @property
    def hash(self) -> str:
        """16 hexadecimal digits."""
        return _hash(asdict(self))

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """What differs from the key in a stored result, a clause each; empty where they are equal."""
        if stored.get("key") == self.hash:
            return []
        found = list(_differences(stored.get("options"), self.options))
        networks = stored.get("networks", {})
        for role, network in self.networks.items():
            before = networks.get(role, network)
            if before["name"] == network["name"] and before != network:
                found.append(f"the weights or the record of '{network['name']}' have changed")
        if stored.get("rules") != self.rules:
            found.append("this version of gigacount counts differently")
        return found or ["its key is damaged"]


_FIELDS = {
    field.name: field
    for kind in (CountOptions, StrategyOptions, PeakOptions, ReadOptions, RegionOptions)
    for field in fields(kind)
}


def _differences(found: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """The options of two results that differ, by their names on the command line."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for part in dict.fromkeys((*wanted, *found)):
            yield from _differences(found.get(part), wanted.get(part), name if part in ("file", "sha256") else part)
    elif found != wanted:
        field = _FIELDS.get(name)
        option = field.metadata.get("option", Option("")) if field else Option("")
        flag = "--region" if name == "regions" else option.names(name)[0]
        if field is not None and isinstance(wanted, bool):
            yield f"{flag} is {'not given' if wanted == field.default else 'given'} now"
        elif name in ("regions", "exclude") and isinstance(wanted, str):
            yield f"the file of {flag} has changed"
        else:
            yield f"{flag} was {_shown(found)}, is {_shown(wanted)} now"


def _shown(value: Any) -> str:
    """A stored value in a few words: of a file, its name."""
    if isinstance(value, dict):
        value = value.get("file", "another")
    elif isinstance(value, list):
        value = ",".join(map(str, value)) or None
    return "not set" if value is None else str(value)[:60]


def plain_options(options: CountOptions) -> Plain:
    """Options as plain values, without those that cannot change a result; regions by the content of their file."""
    values = asdict(options)
    for name in ("scratch_folder", "max_pixels", "trust_loaders"):
        del values["reading"][name]
    if options.regions is not None:
        values["regions"]["sha256"] = _file_hash(options.regions.file)
        values["regions"]["file"] = options.regions.file.name
    if options.exclude is not None:
        values["exclude"] = {"file": options.exclude.name, "sha256": _file_hash(options.exclude)}
    plain: Plain = json.loads(json.dumps(values, default=str))
    return plain


def _file_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: cannot read the regions: {(error.strerror or str(error)).lower()}") from error


def record_identity(record: NetworkRecord) -> dict[str, str]:
    """Name, hash of the weights, and hash of all that the record says about how to use them."""
    values = {field.name: getattr(record, field.name) for field in fields(record) if field.name not in DESCRIPTIVE}
    return {"name": record.name, "sha256": record.sha256, "record": _hash(values)}


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def image_identity(path: Path) -> dict[str, int | str]:
    """Size in bytes and time of change of an image's file, and what stands for those of its sidecars.

    Raises ImageError where it is missing.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # the latter for a name with a NUL
        reason = error.strerror if isinstance(error, OSError) else None
        raise ImageError(f"{path}: {(reason or str(error)).lower()}") from error
    identity: dict[str, int | str] = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    beside = []
    for sidecar in sidecars(path):
        with suppress(OSError):
            found = sidecar.stat()
            beside.append([sidecar.name, found.st_size, found.st_mtime_ns])
    return identity | ({"beside": _hash(beside)} if beside else {})


def content_hash(path: Path) -> dict[str, int | str]:
    """The SHA-256 of an image's file, by which a copy of it is known; nothing for a large file. Raises ImageError."""
    try:
        if path.stat().st_size > HASHED_BYTES:
            return {}
        with path.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise ImageError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def is_same_image(path: Path, stored: Mapping[str, Any]) -> bool:
    """Whether an image is the one of a stored identity: not changed since, or a copy. Raises ImageError."""
    identity = image_identity(path)
    if identity.get("beside") != stored.get("beside"):
        return False
    if identity.items() <= stored.items():
        return True
    if identity["bytes"] != stored.get("bytes") or "sha256" not in stored:
        return False
    return content_hash(path) == {"sha256": stored["sha256"]}
