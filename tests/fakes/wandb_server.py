"""A W&B server on a loopback port: as much of its interface as wandb 0.31 asks for, and a record of what is sent."""

from __future__ import annotations

import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal


class WandbServer:
    """Use as a context manager.

    Attributes:
        url: what WANDB_BASE_URL takes.
        runs: by run id, the last values of what a run said of itself (`groupName`, `config`, ...).
        history: by run id, its history rows.
        files: by path, the bytes that were sent, of runs (`<run>/<path>`) and of artifacts (`<artifact>/<path>`).
        artifacts: what each artifact said of itself, in the order of arrival.
        reports: by id, what was last sent of a report: its title, its blocks, how often it was sent.
        stalls: what waits until the server is closed: uploads of files, or questions after a run was opened.
    """

    def __init__(self, *, stalls: Literal["nothing", "uploads", "questions"] = "nothing") -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.reports: dict[str, dict[str, Any]] = {}
        self.stalls = stalls
        self.closed = threading.Event()
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> WandbServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data that one GraphQL operation gets."""
        made = {"id": "1", "name": "a"}
        if operation == "RunResumeStatus":
            return {"model": {**made, "entity": made, "bucket": self._bucket(given["name"])}}
        if operation == "UpsertBucket":
            run = self.runs.setdefault(given["name"], {})
            is_new = not run
            run.update({key: value for key, value in given.items() if value is not None})
            project = {"id": "1", "name": given["project"], "entity": {"id": "1", "name": "someone"}}
            bucket = {**self._bucket(given["name"]), "description": None, "sweepName": None, "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/put/{given['run']}/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        if operation == "CreateArtifact":
            self.artifacts.append(given["input"])
            found = {
                "id": str(len(self.artifacts) - 1),
                "state": "PENDING",
                "artifactSequence": {"latestArtifact": None},
            }
            return {"createArtifact": {"artifact": found}}
        if operation in ("CreateArtifactManifest", "UpdateArtifactManifest"):
            where = f"{self.url}/put/manifest/{given.get('artifactID', given.get('artifactManifestID'))}"
            file = {"id": "1", "directUrl": where, "uploadUrl": where, "uploadHeaders": []}
            name = operation[0].lower() + operation[1:]
            return {name: {"artifactManifest": {"id": str(given.get("artifactID", "1")), "file": file}}}
        if operation == "CreateArtifactFiles":
            return {
                "createArtifactFiles": {"files": {"edges": [self._slot(f) for f in given["input"]["artifactFiles"]]}}
            }
        if operation == "CommitArtifact":
            return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "0"}}}
        if operation == "Viewer":
            return {"viewer": {**made, "entity": "someone", "flags": "{}", "teams": {"edges": []}}}
        if operation == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if operation in ("GetDefaultEntity", "GetProjects", "ProjectInternalId", "ProjectViews", "Runs", "upsertView"):
            return self._answer_public(operation, given)
        return {"project": None}  # the type of an artifact that is not there yet

    def _answer_public(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        """What wandb.Api and the library of reports ask for."""
        page = {"endCursor": None, "hasNextPage": False}
        projects = {run["project"] for run in self.runs.values()}
        if operation == "GetDefaultEntity":
            return {"viewer": {"id": "1", "entity": "someone"}}
        if operation == "GetProjects":
            nodes = [
                {"id": name, "name": name, "entityName": "someone", "createdAt": "2026-01-01", "isBenchmark": False,
                 "user": None}
                for name in projects
            ]  # fmt: skip
            edges = [{"node": node, "cursor": node["id"]} for node in nodes]
            return {"models": {"edges": edges, "pageInfo": page}}
        if operation == "upsertView":
            key = given.get("id") or f"report-{len(self.reports) + 1}"
            before = self.reports.get(key, {"times": 0})
            self.reports[key] = {**given, "spec": json.loads(given["spec"]), "times": before["times"] + 1}
            return {"upsertView": {"view": self._view(key), "inserted": not before["times"]}}
        name = given.get("projectName") or given.get("project")
        if name not in projects:
            return {"project": None}
        if operation == "ProjectInternalId":
            return {"project": {"id": "1", "internalId": "17"}}
        if operation == "ProjectViews":
            edges = [{"node": self._view(key), "cursor": key} for key in self.reports]
            return {"project": {"allViews": {"edges": edges, "pageInfo": page}}}
        (group,), (names,) = (list(part.values()) for part in json.loads(given["filters"])["$and"])
        found = [key for key, run in self.runs.items() if run.get("groupName") == group and key in names["$in"]]
        runs = {"edges": [], "pageInfo": page}
        return {"project": {"internalId": "17", "runCount": len(found), "readOnly": False, "runs": runs}}

    def _view(self, key: str) -> dict[str, Any]:
        sent = self.reports[key]
        project = {"id": "1", "name": sent["projectName"], "entityName": sent["entityName"]}
        return {
            "id": key, "type": "runs", "name": sent["name"], "displayName": sent["displayName"],
            "description": sent["description"], "project": project, "spec": json.dumps(sent["spec"]),
            "user": None, "createdAt": "2026-01-01", "updatedAt": "2026-01-01",
        }  # fmt: skip

    def _bucket(self, run: str) -> dict[str, Any] | None:
        if run not in self.runs:
            return None
        lines = len(self.history.get(run, []))
        tail = json.dumps([json.dumps(row) for row in self.history.get(run, [])[-1:]])
        return {
            "id": "1", "name": run, "displayName": run, "config": "{}", "summaryMetrics": "{}", "historyTail": tail,
            "eventsTail": "[]", "historyLineCount": lines, "eventsLineCount": 0, "logLineCount": 0, "tags": [],
            "notes": None, "wandbConfig": '{"t": 1}',
        }  # fmt: skip

    def _slot(self, file: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.url}/put/{file['artifactID']}/{file['name']}"
        artifact = {"id": file["artifactID"]}
        return {"node": {"storagePath": file["name"], "uploadUrl": url, "uploadHeaders": [],
                         "uploadMultipartUrls": None, "artifact": artifact}}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: WandbServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body, fake = self._body(), self.server_of
        answer: dict[str, Any] = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            named = re.search(r"\b(?:query|mutation)\s+(\w+)", asked["query"])
            operation = asked.get("operationName") or (named[1] if named else "")
            if fake.stalls == "questions" and fake.runs and operation != "UpsertBucket":
                fake.closed.wait()
            answer = {"data": fake.answer(operation, asked.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            sent = json.loads(body)
            run = self.path.split("/")[-2]
            for line in (sent.get("files") or {}).get("wandb-history.jsonl", {}).get("content", []):
                fake.history.setdefault(run, []).append(json.loads(line))
            for line in (sent.get("files") or {}).get("wandb-summary.json", {}).get("content", []):
                fake.runs[run]["summary"] = json.loads(line)
        self._reply(json.dumps(answer).encode())

    def do_PUT(self) -> None:
        body = self._body()
        if self.server_of.stalls == "uploads":
            self.server_of.closed.wait()
        self.server_of.files[self.path.removeprefix("/put/")] = body
        self._reply(b"")

    def _body(self) -> bytes:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
