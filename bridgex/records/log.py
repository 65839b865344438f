"""log.jsonl: what third parties say and warn goes there, and the terminal stays the user's."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from bridgex.records.files import writing
from bridgex.secrets import without_secrets

# These install handlers of their own on the terminal.
_LOUD = (
    "lightning",
    "lightning.pytorch",
    "lightning.fabric",
    "pytorch_lightning",
    "transformers",
    "datasets",
    "huggingface_hub",
)


class LogFile:
    """While open, sends every log record and warning of this process to one file, a JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handler: logging.Handler | None = None
        self._before: list[tuple[logging.Logger, list[logging.Handler], bool]] = []
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> LogFile:
        self._handler = _JsonLines(self._path)
        root = logging.getLogger()
        self._before = [(logger, logger.handlers[:], logger.propagate) for logger in map(logging.getLogger, _LOUD)]
        self._before.append((root, root.handlers[:], root.propagate))
        for logger, _, _ in self._before:
            logger.handlers = []
            logger.propagate = logger is not root
        root.addHandler(self._handler)
        self._warnings.__enter__()
        warnings.simplefilter("default")  # recorded, never raised: a third party's deprecation must not end a run
        logging.captureWarnings(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            logging.getLogger("bridgex").error("the run ended early", exc_info=error)
        logging.captureWarnings(False)
        self._warnings.__exit__(kind, error, trace)
        for logger, handlers, propagate in self._before:
            logger.handlers, logger.propagate = handlers, propagate
        if self._handler is not None:
            with contextlib.suppress(OSError):  # a full disk is reported by the write of a result
                self._handler.close()


class _JsonLines(logging.Handler):
    def __init__(self, path: Path) -> None:
        super().__init__(level=logging.INFO)
        # Half a character, which UTF-8 cannot write, becomes what JSON reads it from.
        with writing(path):
            self._file = path.open("a", encoding="utf-8", errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(_message(record)),
        }
        if record.exc_info:
            line["traceback"] = without_secrets(logging.Formatter().formatException(record.exc_info))
        try:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError:
            return  # a full disk is reported by the write of a result, not of a log line

    def close(self) -> None:
        self._file.close()
        super().close()


def _message(record: logging.LogRecord) -> str:
    """What was logged; where its arguments do not fit, which is no reason to end a run, as it was written."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)
