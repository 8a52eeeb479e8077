"""What the site needs beside its pages: files of the repository that they link to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = re.compile(r"\]\(\.\./((?:benchmarks|examples)/[^)#]+)")


def on_files(files: Files, config: Any) -> Files:
    """Take the linked files of other folders into the site, under the same path."""
    for page in (ROOT / "docs").glob("*.md"):
        for name in OUTSIDE.findall(page.read_text("utf-8")):
            if files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point the links there."""
    return OUTSIDE.sub(r"](\1", markdown)
