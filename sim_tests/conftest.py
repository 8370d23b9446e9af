"""Fixtures of the co-verification suite."""

from __future__ import annotations

from tests.conftest import shared_models

__all__ = ["shared_models"]
