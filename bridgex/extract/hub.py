"""Finds a model's files, on this machine or on the hub, before anything heavy is imported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.records.files import writing
from bridgex.records.seal import sealed, unsealed

# No pickles: weights are read from safetensors only.
_READ = (".safetensors", ".json", ".model", ".txt", ".jinja", ".py")
_PATTERNS = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
_IGNORED = ["original/*", "onnx/*", "openvino/*", "*.onnx"]
_HUB_PATIENCE_S = 10.0


def find_model(settings: ModelSettings) -> Path:
    """The folder of a model's files; a hub id is downloaded, or found among what was downloaded before.

    Raises:
        UserError: not there, gated, out of reach, or without safetensors.
    """
    assert settings.path is not None
    folder = (
        Path(settings.path).expanduser()
        if settings.names_a_folder()
        else _download(settings.path, settings.revision, _patterns(settings))
    )
    if not weight_files(folder):
        raise UserError(
            f"model.path={settings.path}: no .safetensors file in {folder}. bridgex reads no pickled weights: "
            f"convert them with save_pretrained(..., safe_serialization=True)"
        )
    return folder.resolve()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, sorted."""
    return sorted(folder.glob("*.safetensors"))


def fingerprint(folders: Iterable[Path], memory: Path) -> str:
    """SHA-256 over the names and contents of weights, adapter, config and tokenizer files.

    Args:
        folders: the model's folder and its adapter's.
        memory: file that remembers a file's hash by path, size and time, so that large weights are read once.
    """
    known = _read_memory(memory)
    digest = hashlib.sha256()
    fresh: dict[str, str] = {}
    for folder in folders:
        for path in sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in _READ):
            stat = path.stat()
            key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
            if key not in known:
                known[key] = fresh[key] = _hash_file(path)
            digest.update(f"{path.name}\0{known[key]}\0".encode())
    if fresh:
        lines = [sealed(json.dumps({"file": key, "sha256": value})) + "\n" for key, value in fresh.items()]
        with writing(memory, "cache.dir"):
            memory.parent.mkdir(parents=True, exist_ok=True)
            # Appended in one write: several processes may remember at once.
            with memory.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
    return digest.hexdigest()


def _read_memory(memory: Path) -> dict[str, str]:
    known: dict[str, str] = {}
    try:
        content = memory.read_bytes()
    except OSError:
        return known
    for line in content.splitlines():
        try:
            entry = json.loads(unsealed(line, memory.name))
            known[entry["file"]] = entry["sha256"]
        except (ValueError, KeyError, TypeError):
            continue  # a line cut short or damaged: the file is hashed again
    return known


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def problems(settings: ModelSettings) -> list[str]:
    """Why a hub id cannot be loaded, found out without downloading weights; empty for folders."""
    if settings.path is None or settings.names_a_folder():
        return []
    return list(_hub_problems(settings.path, settings.revision, _patterns(settings)))


@lru_cache
def _hub_problems(hub_id: str, revision: str | None, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Asked once a process: the cells of a sweep share their model."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns), local_files_only=True)
    except LocalEntryNotFoundError:
        with _as_user_error(hub_id, revision) as found:
            HfApi().model_info(hub_id, revision=revision, timeout=_HUB_PATIENCE_S)
            HfApi().auth_check(hub_id)
        return tuple(found)
    return ()


def _patterns(settings: ModelSettings) -> tuple[str, ...]:
    """Which files of a model are downloaded: its code only where it may be run."""
    return (*_PATTERNS, "*.py") if settings.trust_remote_code else _PATTERNS


def _download(hub_id: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download

    with _as_user_error(hub_id, revision) as found:
        return Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=_IGNORED,
                etag_timeout=_HUB_PATIENCE_S,
            )
        )
    raise UserError(*found)


@contextmanager
def _as_user_error(hub_id: str, revision: str | None) -> Iterator[list[str]]:
    """Collects what the hub refuses, as a user's lines."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    found: list[str] = []
    try:
        yield found
    except GatedRepoError:
        found.append(
            f"model.path={hub_id}: gated. Accept its licence at https://huggingface.co/{hub_id}, "
            f"then log in with: hf auth login"
        )
    except RevisionNotFoundError:
        found.append(f"model.revision={revision}: {hub_id} has no such branch, tag or commit")
    except RepositoryNotFoundError:
        found.append(
            f"model.path={hub_id}: neither a folder here nor a model on the hub (a private one needs: hf auth login)"
        )
    except Exception as error:  # which library carries the requests, and so what it raises, changes by version
        found.append(
            f"model.path={hub_id}: not on this machine, and the hub cannot be reached ({type(error).__name__}). "
            f"Give model.path=<folder>, or where there is a network: hf download {hub_id}"
        )
