"""The W&B mirror of a run, made from the run's files; they stay the truth, and the mirror can be made again.

W&B works in a process of its own: whatever it prints, leaves behind, waits for or dies of stays there, a time limit
ends it, and a run of W&B's that the user's own process has open is not touched.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from bridgex import bounded
from bridgex.config.settings import LoggerSettings
from bridgex.records.mirror import Identity, identity_of
from bridgex.secrets import without_secrets
from bridgex.shown import say

_MODES = ("auto", "online", "offline", "disabled")
# Seconds for W&B's first answer, for sending after the last record, and for all of it together, online and offline.
_INIT_SECONDS, _SEND_SECONDS, _ONLINE_SECONDS, _OFFLINE_SECONDS = 8.0, 120.0, 180.0, 180.0
_MODE_NAMES = {"dryrun": "offline", "run": "online"}  # W&B's older words, still allowed in WANDB_MODE
_MAX_LINE = 200
# Servers, by WANDB_BASE_URL, that did not answer: the next run of this process does not wait for them again.
_silent: set[str] = set()


class Request(BaseModel):
    """What the process of its own is told."""

    folder: Path
    home: Path
    options: LoggerSettings
    mode: str
    reason: str
    group: str
    job_type: str
    run_id: str
    init_seconds: float
    send_seconds: float

    @property
    def staging(self) -> Path:
        """Where W&B keeps copies of what it has yet to send."""
        return self.home / "wandb" / f"staging-{self.run_id}"


class Answer(BaseModel):
    """What came of a request: a line for the user, or why it must be offline."""

    line: str | None = None
    unfit: str | None = None
    is_silent: bool = False
    """Whether the server did not answer in time."""


def say_mirrored(folder: Path, logger: LoggerSettings) -> None:
    """Mirrors a run that has ended, and says what came of it.

    Raises:
        UserError: its status.json is missing or damaged.
    """
    say(mirror_run(folder, logger, identity_of(folder)))


def mirror_run(folder: Path, options: LoggerSettings, identity: Identity | None) -> str:
    """Mirrors one run to W&B, as far as its files go; never asks and never raises.

    Args:
        folder: the run's folder.
        options: the mirror's settings; the environment's WANDB_MODE beats their mode.
        identity: what the run is called there; a second mirror of the same id replaces the first. None: it ended
            before there was anything to mirror.

    Returns:
        One line for the user: the run's address, or how to send what was kept on this machine, or what failed.
    """
    given = os.environ.get("WANDB_MODE") or options.mode
    mode, reason = _MODE_NAMES.get(given, given), f"{'WANDB_MODE' if 'WANDB_MODE' in os.environ else 'mode'}={given}"
    if identity is None:
        return "W&B: nothing was mirrored (the run ended before it began)"
    if mode == "disabled":
        return "W&B: disabled, nothing was mirrored"
    if mode not in _MODES:
        return f"W&B: nothing was mirrored (WANDB_MODE={given}: not one of online, offline, disabled)"
    try:
        home = Path(options.dir).expanduser().resolve() if options.dir else folder.resolve()
        (home / "wandb").mkdir(parents=True, exist_ok=True)
        return _send(
            Request(
                folder=folder.resolve(), home=home, options=options, mode=mode, reason=reason,
                **identity._asdict(), init_seconds=_INIT_SECONDS, send_seconds=_SEND_SECONDS,
            )
        )  # fmt: skip
    except Exception as error:
        return f"W&B: nothing was mirrored ({one_line(error)})"


def _send(request: Request) -> str:
    """Asks for the mirror, online first where that is wanted and the server has not been silent before."""
    server = os.environ.get("WANDB_BASE_URL", "")
    if request.mode != "offline" and server in _silent:
        request = request.model_copy(
            update={"mode": "offline", "reason": "no answer to an earlier run of this command"}
        )
    answer = _ask_process(request)
    if answer.unfit is not None and request.mode != "offline":
        if answer.is_silent:
            _silent.add(server)
        answer = _ask_process(request.model_copy(update={"mode": "offline", "reason": answer.unfit}))
    return answer.line or f"W&B: nothing was mirrored ({answer.unfit})"


def _ask_process(request: Request) -> Answer:
    """Lets W&B do its part in a process of its own."""
    limit = _OFFLINE_SECONDS if request.mode == "offline" else _ONLINE_SECONDS
    outcome = bounded.call("bridgex.lit.wandb_process:mirror", request.model_dump_json(), _environment(request), limit)
    if outcome.answer is not None:
        return Answer.model_validate_json(outcome.answer)
    return Answer(unfit=shorten(outcome.trouble), is_silent=outcome.is_late)


def _environment(request: Request) -> dict[str, str]:
    # A service that the caller's own W&B has started must not be joined, and the mode was decided above.
    environment = {key: value for key, value in os.environ.items() if key not in ("WANDB_SERVICE", "WANDB_MODE")}
    return {
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_DATA_DIR": str(request.staging),
        **environment,
        "MPLBACKEND": "Agg",
    }


def one_line(error: BaseException) -> str:
    """An error in words of one line."""
    return shorten(f"{type(error).__name__}: {error}")


def shorten(text: str) -> str:
    """A text in one line, secrets left out, cut to what a line holds."""
    text = " ".join(str(without_secrets(text)).split())
    return text if len(text) <= _MAX_LINE else f"{text[: _MAX_LINE - 3]}..."
