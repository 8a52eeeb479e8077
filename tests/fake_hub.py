"""As much of the Hugging Face hub as a download asks for, on localhost."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("v1", "main", COMMIT)
Repositories = dict[str, dict[str, bytes]]
"""By `models/OWNER/NAME` or `datasets/OWNER/NAME`: paths and their content."""

ServeHub = Callable[[Repositories], tuple[str, list[str]]]


class Hub(http.server.BaseHTTPRequestHandler):
    """The repositories, each of one commit."""

    repositories: Repositories
    asked: list[str]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {self.path}")
        about = re.fullmatch(r"/api/(\w+/\w+/\w+)/(revision|tree)/([^/]+).*", path)
        wanted = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path)
        if about and about[1] in self.repositories and about[3] in REVISIONS:
            self.describe(about[1], whole=about[2] == "revision")
        elif wanted and wanted[2] == COMMIT and wanted[3] in self.files_of(wanted[1]):
            content = self.files_of(wanted[1])[wanted[3]]
            self.answer(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"')
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def files_of(self, name: str) -> dict[str, bytes]:
        key = name if name.startswith("datasets/") else f"models/{name}"
        return self.repositories.get(key, {})

    def describe(self, repository: str, whole: bool) -> None:
        files = [
            {"type": "file", "path": each, "rfilename": each, "oid": each, "size": len(content)}
            for each, content in self.repositories[repository].items()
        ]
        name = repository.partition("/")[2]
        about = {"id": name, "sha": COMMIT, "siblings": files}
        self.answer(json.dumps(about if whole else files).encode())

    def answer(self, body: bytes, **headers: str) -> None:
        self.send_response(200)
        content = {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}
        for name, value in content.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def serve_hub() -> Iterator[ServeHub]:
    """A function that serves repositories; it gives the address, and a list of what is asked."""
    servers = []

    def serve(repositories: Repositories) -> tuple[str, list[str]]:
        handler = type("Handler", (Hub,), {"repositories": repositories, "asked": []})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", handler.asked  # type: ignore[attr-defined]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def run_with_hub(endpoint: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, which reads the hub's address when it imports it."""
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in proxies}
    environment = {**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)
