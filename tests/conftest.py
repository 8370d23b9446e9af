"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing about the code where other work shares the machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """Folder of the networks that were trained elsewhere; tests that need it are skipped where it is absent.

    It isn't part of the repository: `BITWRIGHT_SHARED` names the folder that holds `models/`, by default
    `shared` beside the repository.
    """
    shared = Path(os.environ.get("BITWRIGHT_SHARED", REPOSITORY.parent / "shared"))
    models = shared / "models"
    if not models.is_dir():
        pytest.skip(f"no folder {models}: set BITWRIGHT_SHARED to the folder that holds models/")
    return models
