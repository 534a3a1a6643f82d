"""What every test may use, and which tests run: those marked `slow` only where FORJA_SLOW is set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from forja.progress import set_quiet

# The machine is shared and may be slow: a test never fails for its time.
settings.register_profile("forja", deadline=None)
settings.load_profile("forja")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("FORJA_SLOW"):
        return
    skip = pytest.mark.skip(reason="slow; set FORJA_SLOW=1 to run it")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """A command run with --json in a test's own process silences progress for good; the next test hears it again."""
    yield
    set_quiet(False)


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
