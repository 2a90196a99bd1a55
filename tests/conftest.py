"""Shared by all tests."""

from __future__ import annotations

from hypothesis import settings

# No deadline: the machines are shared and slow at times. Derandomised: a red run stays red until it is mended.
settings.register_profile("gigacount", deadline=None, derandomize=True)
settings.load_profile("gigacount")
