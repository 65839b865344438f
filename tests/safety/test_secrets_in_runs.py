"""No key, token or password of a run stands in its folder, its sweep's, or on the terminal."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path

import pytest

from bridgex.config import command, settings
from bridgex.config.settings import config_hash, from_yaml
from bridgex.errors import UserError
from bridgex.records.store import RunFolder, check_folder, read_status, write_failure
from bridgex.report import html
from bridgex.secrets import holds_secret
from tests.end_to_end.conftest import Run

TOKEN = "hf_" + "aB3" * 12
SECRETS = {
    "of the environment": "a-token-of-no-known-form",
    "of W&B": "0123456789abcdef" * 2 + "01234567",
    "of a known form": TOKEN,
    "of a provider": "sk-ant-api03-" + "x1Y" * 12,
    "in an address": "hunter2-hunter2",
    "under a key": "no-form-at-all",
}
OWN_TASK = (
    "task._target_=tests.fakes.own_task.KeyedTask", "task.name=own", "~task.prompt", "~task.chain", "~task.max_tokens",
    f"+task.api_key={SECRETS['under a key']}", f"+task.place=https://me:{SECRETS['in an address']}@elsewhere/x",
    f"+task.greeting={SECRETS['of a provider']}",
)  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRETS["of the environment"])
    monkeypatch.setenv("WANDB_API_KEY", SECRETS["of W&B"])
    monkeypatch.setenv("PYTHONPATH", str(repository))


def found_in(folder: Path, *texts: str) -> list[str]:
    """Which secret stands where."""
    places = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    places |= {f"text {number}": text.encode() for number, text in enumerate(texts)}
    return [f"{kind} in {place}" for place, told in places.items() for kind, s in SECRETS.items() if s.encode() in told]


@pytest.mark.parametrize("breaks", ["false", "true"])
def test_a_run_keeps_none(breaks: str, command: Run, tmp_path: Path) -> None:
    arguments = (*OWN_TASK, f"+task.breaks={breaks}", "bridge=none", "hydra.run.dir=own", "cache.dir=cache")
    done = command(*arguments, status=70 if breaks == "true" else 0)
    folder = tmp_path / "own"
    assert found_in(tmp_path, done.stdout, done.stderr) == []
    if breaks == "true":
        assert "no answer from https://***@elsewhere/x?key=*** for ***" in done.stderr
        assert "asked https://***@elsewhere/x" in done.stderr, "logged before the run had a log"
        return
    status, config = read_status(folder), from_yaml(folder / "config.yaml")
    assert status is not None
    assert config["task"]["api_key"] == "***"
    assert config["task"]["place"] == "https://***@elsewhere/x"
    assert "***" in "".join(status.notes)
    # The folder is still that run's: the same command goes on with it, another key is another run.
    assert "0.0" in command(*arguments).stdout.replace("0.000", "0.0")
    refused = command(*(text.replace("no-form", "another-form") for text in arguments), status=1)
    assert "differs in its config" in refused.stderr
    page = html.write_run_page(folder).read_text(encoding="utf-8")
    assert not any(secret in page for secret in SECRETS.values())


def test_a_sweep_keeps_none_either_and_takes_them_from_the_environment(command: Run, tmp_path: Path) -> None:
    refused = command("-m", *OWN_TASK, "seed=0,1", "bridge=none", status=1)
    assert found_in(tmp_path, refused.stdout, refused.stderr) == []
    keys = [line.split(": ")[1] for line in refused.stderr.splitlines()]
    assert keys[:3] == ["task.api_key", "task.place", "task.greeting"]
    given = ("+task.api_key='${oc.env:HF_TOKEN}'", "+task.greeting='${oc.env:WANDB_API_KEY}'")
    done = command("-m", *OWN_TASK[:5], *given, "seed=0,1", "bridge=none", "cache.dir=cache")
    assert "2 done" in done.stdout
    assert found_in(tmp_path, done.stdout, done.stderr) == []
    again = command("-m", *OWN_TASK[:5], *given, "seed=0,1", "bridge=none", "cache.dir=cache")
    assert "2 done" in again.stdout


@pytest.mark.parametrize(
    "mistake",
    [
        f"model.path=https://me:{SECRETS['in an address']}@elsewhere/x",
        f"data.root={TOKEN}",
        f"+task.api_key={SECRETS['under a key']}",
        f"model.nme={SECRETS['of the environment']}",
        f"pair={SECRETS['of a provider']}",
        f"nope={SECRETS['of W&B']}",
    ],
)
def test_a_mistake_quotes_none(mistake: str, command: Run, tmp_path: Path) -> None:
    done = command(mistake, status=1)
    assert done.stderr.startswith("error: ")
    assert found_in(tmp_path, done.stdout, done.stderr) == []


def test_what_is_logged_or_told_is_masked(tmp_path: Path) -> None:
    config = {"seed": 0}
    # What follows is one run that ends in an error.
    with suppress(RuntimeError), RunFolder.open(tmp_path / "run", config) as run:
        logging.getLogger("third.party").warning("sent %s", TOKEN)
        logging.getLogger("third.party").warning("%d of %s", "no number", TOKEN)
        logging.getLogger("third.party").warning("a file \udc80")
        run.note(f"note {TOKEN}")
        run.detail(f"GET https://elsewhere/x?X-Amz-Signature={SECRETS['under a key']}&x=1")
        raise RuntimeError(f"refused: Bearer {SECRETS['of the environment']} \udc80")
    write_failure(tmp_path / "cell", config, f"failed with {TOKEN} \udc80")
    assert found_in(tmp_path) == []
    status = read_status(tmp_path / "run")
    assert status is not None
    assert status.error == "refused: Bearer *** \\udc80"
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["message"] for line in lines][:3] == ["sent ***", "%d of %s", "a file \udc80"]


def test_masking_changes_neither_hash_nor_what_differs(tmp_path: Path) -> None:
    config = {"seed": 0, "task": {"api_key": "first", "name": "a"}}
    with RunFolder.open(tmp_path, config):
        pass
    status = read_status(tmp_path)
    assert status is not None
    assert status.config_hash == config_hash(config)
    check_folder(tmp_path, config)
    with pytest.raises(UserError, match="differs in seed. "):
        check_folder(tmp_path, {**config, "seed": 1})


@pytest.mark.parametrize("text", ["seed=0,1", "task.max_tokens=30", "model.path=owner/name", "task.api_key=null"])
def test_ordinary_overrides_hold_none(text: str) -> None:
    assert not holds_secret(text)


def test_no_shipped_setting_is_masked() -> None:
    from bridgex.secrets import without_secrets

    (cell,) = command.check("evaluate", [], settings.validate)
    assert without_secrets(cell.config) == json.loads(json.dumps(cell.config))
