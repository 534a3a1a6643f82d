"""What every test may use: the folder of real data, where one is given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder named by FORJA_REALDATA; tests that need it are skipped, loudly, without it."""
    folder = os.environ.get("FORJA_REALDATA")
    if not folder:
        pytest.skip("FORJA_REALDATA is not set: real data is not tested")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"FORJA_REALDATA names {folder}, which is not a folder")
    return path.resolve()
