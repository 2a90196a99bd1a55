"""Claims: one owner at a time, and none that is dead."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

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


def test_claims_work_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    test_claims_are_exclusive_and_given_back(tmp_path)
    test_a_claim_without_heartbeat_is_taken_over_and_not_given_back_by_its_first_owner(tmp_path)
