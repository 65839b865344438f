"""Finding a model's files: local folders, and a loopback server that stands for the hub."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.extract import hub

SHA = "a" * 40


def model(path: str, **more: object) -> ModelSettings:
    return ModelSettings.model_validate({"kind": "hf", "name": "m", "path": path, **more})


class FakeHub(BaseHTTPRequestHandler):
    """Answers for four repositories: open, gated, missing, and one with no revision of that name."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "/me/gated" in self.path:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif "/me/open" in self.path and "nope" in self.path:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif self.path.startswith("/api/models/me/open"):
            files = [{"rfilename": name} for name in ("config.json", "model.safetensors", "pytorch_model.bin")]
            self._send(200, json.dumps({"id": "me/open", "sha": SHA, "siblings": files}).encode(), {})
        elif "/me/open/resolve" in self.path:
            name = self.path.rpartition("/")[2]
            assert name != "pytorch_model.bin", "pickles are never asked for"
            self._send(200, f"content of {name}".encode(), {"ETag": f'"{name}"', "X-Repo-Commit": SHA})
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    from huggingface_hub import constants

    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("fake_hub")
class TestHub:
    def test_an_open_model_is_fine_and_nothing_is_downloaded_to_know(self, tmp_path: Path) -> None:
        assert hub.problems(model("me/open")) == []
        assert not list(tmp_path.rglob("*.safetensors"))

    def test_a_gated_model_names_its_licence_page_and_the_login(self) -> None:
        (line,) = hub.problems(model("me/gated"))
        assert line == (
            "model.path=me/gated: gated. Accept its licence at https://huggingface.co/me/gated, "
            "then log in with: hf auth login"
        )

    def test_an_unknown_model_and_an_unknown_revision(self) -> None:
        (line,) = hub.problems(model("me/none"))
        assert line.startswith("model.path=me/none: neither a folder here nor a model on the hub")
        (line,) = hub.problems(model("me/open", revision="nope"))
        assert line == "model.revision=nope: me/open has no such branch, tag or commit"


def test_no_network_and_no_copy_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (line,) = hub.problems(model("meta-llama/Meta-Llama-3-8B"))
    assert "not on this machine, and the hub cannot be reached" in line
    assert line.endswith("hf download meta-llama/Meta-Llama-3-8B")


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="no .safetensors file in .* reads no pickled weights"):
        hub.find_model(model(str(tmp_path)))


@pytest.mark.parametrize(
    ("path", "is_folder"),
    [("gpt2", False), ("owner/name-1.5", False), ("/no/such", True), ("./x", True), ("a/b/c", True), ("~/m", True)],
)
def test_what_is_meant_as_a_folder(path: str, is_folder: bool) -> None:
    assert model(path).names_a_folder() is is_folder


def test_the_fingerprint_follows_content_and_name_and_is_remembered(tmp_path: Path) -> None:
    folder, memory = tmp_path / "model", tmp_path / "cache" / "fingerprints.jsonl"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    (folder / "notes.md").write_text("not part of it")
    first = hub.fingerprint([folder], memory)
    assert hub.fingerprint([folder], memory) == first
    assert len(memory.read_text().splitlines()) == 1
    memory.write_text(memory.read_text()[:20])  # cut short by a kill: hashed again
    assert hub.fingerprint([folder], memory) == first
    line = memory.read_text().splitlines()[-1]
    digit = line.index('"sha256": "') + len('"sha256": "')
    flipped = line[:digit] + chr(ord(line[digit]) ^ 1) + line[digit + 1 :]
    memory.write_text(f"{flipped}\n")  # of a digit another one: not believed, and hashed again
    assert hub.fingerprint([folder], memory) == first
    (folder / "notes.md").write_text("changed")
    assert hub.fingerprint([folder], memory) == first
    (folder / "model.safetensors").write_bytes(b"two")
    assert hub.fingerprint([folder], memory) != first
