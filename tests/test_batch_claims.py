"""Claims: one owner at a time, and none that is dead."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from pathlib import Path

import pytest

from gigacount.atomic import process_space, temporary
from gigacount.batch.claims import Claims


def test_claims_are_exclusive_and_given_back(tmp_path: Path) -> None:
    one, other = Claims(tmp_path), Claims(tmp_path)
    assert one.take("k")
    assert not other.take("k")
    one.release("k")
    assert other.take("k")
    other.close()
    assert one.take("k")
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_a_claim_without_heartbeat_is_taken_over_and_not_given_back_by_its_first_owner(tmp_path: Path) -> None:
    one, other = Claims(tmp_path), Claims(tmp_path, stale_seconds=100)
    one.take("k")
    assert not other.take("k")
    assert other.left(["k", "l"]) == []
    os.utime(tmp_path / "k.claim", (time.time() - 200,) * 2)
    assert other.left(["k", "l"]) == ["k"]
    assert other.take("k")
    one.release("k")
    assert not Claims(tmp_path).take("k")


@pytest.mark.parametrize("days", [-2, 2])
def test_a_heartbeat_from_another_day_is_stale_also_one_to_come(tmp_path: Path, days: int) -> None:
    one, other = Claims(tmp_path), Claims(tmp_path)
    one.take("k")
    os.utime(tmp_path / "k.claim", (time.time() + days * 86400,) * 2)
    assert other.take("k")


def test_who_has_a_claim_can_be_said(tmp_path: Path) -> None:
    one, other = Claims(tmp_path), Claims(tmp_path)
    one.take("k")
    assert re.fullmatch(rf"process {os.getpid()} on \S+, since 20\d\d-\S+", other.holder("k"))
    assert other.holder("free") == ""


@pytest.mark.parametrize("content", ["", "{", '{"pid": 999999999, "host": "HOST", "space": "SPACE"}'])
def test_owners_that_are_gone_or_empty_are_tidied_up(tmp_path: Path, content: str) -> None:
    one = Claims(tmp_path)
    content = content.replace("HOST", socket.gethostname()).replace("SPACE", process_space())
    (tmp_path / "owner.0123").write_text(content)
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_another_space_is_not_taken_for_dead(tmp_path: Path) -> None:
    """Containers on one machine number their processes on their own."""
    elsewhere = {"host": socket.gethostname(), "space": "another", "pid": 999999999}
    (tmp_path / "k.claim").write_text(json.dumps(elsewhere))
    assert not Claims(tmp_path).take("k")
    assert ".another." not in temporary(tmp_path / "a").name
    assert f".{process_space()}." in temporary(tmp_path / "a").name


def test_claims_work_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    test_claims_are_exclusive_and_given_back(tmp_path)
    test_a_claim_without_heartbeat_is_taken_over_and_not_given_back_by_its_first_owner(tmp_path)
