"""A server on the loopback that hands out files as the hub and plain servers do, whole or in trouble."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class DataServer:
    """What the server has, and how it behaves; changed while it runs.

    Attributes:
        url: where it listens.
        files: contents by path.
        cuts: by path, after how many bytes of the body each next answer breaks off.
        statuses: by path, what each next request is answered instead.
        stalls: by path, how long each next answer takes to begin.
        announced: by hub path, a digest other than the file's own.
        gated: repositories that refuse all but their own page, with the status they refuse with.
        requests: path and range of every request, in order.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    stalls: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    announced: dict[str, str] = field(default_factory=dict)
    gated: dict[str, int] = field(default_factory=dict)
    repositories: dict[str, tuple[str, dict[str, bytes]]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def add_repository(self, hub_id: str, files: Mapping[str, bytes]) -> str:
        """Puts a data set on the hub; its commit."""
        commit = hashlib.sha1(hub_id.encode()).hexdigest()
        self.repositories[hub_id] = (commit, dict(files))
        for name, content in files.items():
            self.files[f"/datasets/{hub_id}/resolve/{commit}/{name}"] = content
        return commit

    def asked_for(self, path: str) -> list[str]:
        """The ranges asked of a path, one a request; empty: the whole of it."""
        return [found for asked, found in self.requests if asked == path]

    def answer(self, path: str) -> tuple[int, object] | None:
        """What the hub's interface says; None: not a path of its own."""
        if not path.startswith("/api/datasets/"):
            return None
        owner, name, *rest = path.removeprefix("/api/datasets/").split("/")
        hub_id = f"{owner}/{name}"
        if hub_id not in self.repositories:
            return 404, {"error": "Repository not found"}
        commit, files = self.repositories[hub_id]
        if rest and rest[0] in ("tree", "auth-check", "paths-info") and hub_id in self.gated:
            return self.gated[hub_id], {"error": "gated"}
        if rest and rest[0] in ("tree", "paths-info"):
            return 200, [self._entry(hub_id, path, content) for path, content in files.items()]
        siblings = [{"rfilename": path} for path in files]
        gated = "auto" if hub_id in self.gated else False
        return 200, {"id": hub_id, "sha": commit, "private": False, "gated": gated, "siblings": siblings, "tags": []}

    def _entry(self, hub_id: str, path: str, content: bytes) -> dict[str, object]:
        entry: dict[str, object] = {"type": "file", "path": path, "size": len(content)}
        entry["oid"] = self.announced.get(path) or hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if path.endswith(".parquet"):
            sha256 = self.announced.get(path) or hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
        return entry


@contextmanager
def serving() -> Iterator[DataServer]:
    """A running server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            data.requests.append((path, self.headers.get("Range", "")))
            if data.stalls[path]:
                time.sleep(data.stalls[path].pop(0))
            answer = data.answer(path)
            if data.statuses[path]:
                self._send(data.statuses[path].pop(0), b"")
            elif answer is not None:
                extra = {"X-Error-Code": "GatedRepo"} if answer[0] in (401, 403) else {}
                self._send(answer[0], json.dumps(answer[1]).encode(), extra)
            elif path in data.files:
                self._send_file(path)
            else:
                self._send(404, b"")

        do_HEAD = do_GET

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def _send_file(self, path: str) -> None:
            content = data.files[path]
            extra = {
                "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
                "X-Repo-Commit": path.partition("/resolve/")[2][:40],
            }
            start, wanted = 0, self.headers.get("Range", "")
            if wanted and self.headers.get("If-Range", extra["ETag"]) == extra["ETag"]:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                if start >= len(content):
                    self._send(416, b"")
                    return
                extra["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            cut = data.cuts[path].pop(0) if data.cuts[path] else None
            self._send(206 if start else 200, content[start:], extra, cut)

        def _send(
            self, status: int, body: bytes, headers: Mapping[str, str] | None = None, cut: int | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if cut is None else body[:cut])
            if cut is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Tests read what they need from the requests kept."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    data = DataServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield data
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
