from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from tests.fake_hub import serve_hub

__all__ = ["serve_hub"]

# The tests' tensors are tiny: more threads only wait for each other. Processes that tests start
# inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# An example may be slow on a busy machine; that is no failure.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """Leave the number of threads, which a run sets, as it was."""
    import torch  # not before the environment is set

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets; the tests that need them are skipped where it is absent."""
    return _present(SHARED / "data")


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """Folder of files made by other software; the tests that need them are skipped likewise."""
    return _present(SHARED / "fixtures")


def _present(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture
def closed_pipe() -> io.StringIO:
    """A stream whose reader has gone away."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    return Closed()
