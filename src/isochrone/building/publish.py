"""Putting a built folder in place whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def published(directory: Path) -> Iterator[Path]:
    """A new folder to build in, that takes the place of `directory` at the end, or is gone if that isn't reached.

    It lies beside `directory`, so that the change is a rename: whoever opens files in `directory` finds the old
    ones, the new ones, or for a moment none, but never half of them.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        fresh, old = work / "new", work / "old"
        fresh.mkdir()
        yield fresh
        if directory.exists():
            os.rename(directory, old)
        os.rename(fresh, directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
