"""A small server that plays the hub: repositories are folders of bytes, and every request is remembered."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "a" * 40
_INFO = re.compile(r"^/api/(models|datasets)/(\w+/\w+)(/revision/[\w.]+)?$")
_TREE = re.compile(rf"^/api/(models|datasets)/(\w+/\w+)/tree/{COMMIT}$")
_FILE = re.compile(r"^(/datasets)?/(\w+/\w+)/resolve/(\w+)/(.+)$")
Repositories = dict[str, dict[str, bytes]]


class Hub(ThreadingHTTPServer):
    """Serves ``repositories``, named `models/someone/model` or `datasets/someone/data`; others are not there."""

    def __init__(self, repositories: Repositories) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repositories = repositories
        self.requests: list[tuple[str, str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def taken(self) -> list[str]:
        """The files that were downloaded."""
        found = (_FILE.match(path) for method, path, _ in self.requests if method == "GET")
        return sorted(match[4] for match in found if match)


@contextmanager
def hub(repositories: Repositories) -> Iterator[Hub]:
    server = Hub(repositories)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        self.server.requests.append((self.command, path, self.headers.get("Authorization")))
        if match := _INFO.match(path):
            self._repository(f"{match[1]}/{match[2]}", {"id": match[2], "sha": COMMIT, "siblings": []})
        elif match := _TREE.match(path):
            files = self.server.repositories.get(f"{match[1]}/{match[2]}", {})
            self._send(json.dumps([_entry(name, content) for name, content in files.items()]).encode())
        elif match := _FILE.match(path):
            kind = "datasets" if match[1] else "models"
            content = self.server.repositories.get(f"{kind}/{match[2]}", {}).get(match[4])
            self._send(content, body, {"ETag": f'"{_oid(content or b"")}"', "X-Repo-Commit": COMMIT})
        else:
            self._send(self.server.repositories.get("plain", {}).get(path), body)

    def _repository(self, name: str, info: dict[str, Any]) -> None:
        known = name in self.server.repositories
        error = {} if known else {"X-Error-Code": "RepoNotFound"}
        self._send(json.dumps(info).encode() if known else None, headers=error)

    def _send(self, content: bytes | None, body: bool = True, headers: dict[str, str] | None = None) -> None:
        self.send_response(404 if content is None else 200)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and content:
            self.wfile.write(content)


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
