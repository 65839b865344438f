"""Several processes for one run: the first runs it, and the others do their share of each prediction it asks for.

The first process alone reads configs and writes records; what it asks of the others comes to them by a message. They
are started by it, or by torchrun, on this machine or on several. Lightning's `ddp` deals batches out, and what each
process found is joined by the first, once all have come to the end, so that one that fails keeps none of them waiting.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.extract.loading import LoadedModel, load_model
from bridgex.lit.callbacks import Joining, ProgressBar
from bridgex.lit.parcels import carried, packed, unpacked
from bridgex.lit.places import Place, environment_of, torchrun_place
from bridgex.lit.run_trainer import RunTrainer

# The first process may think for days, over statistics, before it asks for anything.
_PATIENCE = timedelta(days=30)
_SECONDS_TO_END = 3.0
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from bridgex.lit.crew import main; main()"


@dataclass(frozen=True)
class ModelKey:
    """What a model is loaded from, by every process for itself.

    Attributes:
        settings: how.
        where: the folder of its files.
        fingerprint: of the files.
    """

    settings: ModelSettings
    where: Path
    fingerprint: str


@lru_cache(maxsize=1)
def keep_model(key: ModelKey) -> LoadedModel:
    """The model, kept for what this process does next with the same one."""
    return load_model(key.settings, key.where)


@dataclass(frozen=True)
class _Order:
    """What the first process asks of the others: a prediction with a model, packed without its weights."""

    key: ModelKey
    accelerator: str
    packed: bytes


@dataclass(frozen=True)
class _Found:
    """What one process's share came to: the parts of its callbacks, or what went wrong."""

    parts: list[Any]
    error: Exception | None


class Crew:
    """The processes of a run, seen from the first one.

    Args:
        num_processes: how many; under torchrun they are there already, and their number is torchrun's.

    Raises:
        UserError: torchrun's number is another one.
    """

    def __init__(self, num_processes: int) -> None:
        given = torchrun_place()
        if given is not None and num_processes not in (1, given.world_size):
            raise UserError(
                f"trainer.devices={num_processes}: torchrun started {given.world_size} processes. Leave the key out"
            )
        self.place = given or Place(0, num_processes, 0, num_processes, f"tcp://127.0.0.1:{_free_port()}")
        self._others = [] if given is not None else [_start(self.place, rank) for rank in range(1, num_processes)]
        self._has_ended = False
        try:
            _interruptibly(lambda: _join_group(self.place))  # the others may take seconds to begin
        except BaseException:
            self._abandon()
            raise

    def predict(
        self,
        key: ModelKey,
        loaded: LoadedModel,
        accelerator: str,
        module: LightningModule,
        data: LightningDataModule,
        callbacks: Sequence[Callback],
    ) -> torch.device:
        """Predicts with all processes, and joins what they found into the first one's callbacks.

        Args:
            key: what the model is loaded from.
            loaded: the model.
            accelerator: of the trainer.
            module: holds the model.
            data: its batches.
            callbacks: those that are `Joining` hold what all processes found, afterwards.

        Returns:
            The first process's device.

        Raises:
            UserError: one of the processes met it, or is gone.
        """
        own = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
        order = _Order(key, accelerator, packed(loaded, (module, data, own)))
        try:
            dist.broadcast_object_list([order], src=0)
            trainer = _trainer(self.place, accelerator, callbacks)
            found = _share(trainer, module, data, callbacks, None)
        except RuntimeError as error:
            gone = self._gone()
            self._abandon()
            if not gone:
                raise
            raise UserError(
                f"trainer.devices={self.place.world_size}: a process of this run is gone (exit status {gone[0]}). "
                f"Memory may not have sufficed; the same command goes on, with fewer devices if need be"
            ) from error
        except BaseException:
            self._abandon()
            raise
        errors = [part.error for part in found if part.error is not None]
        if errors:
            raise next((error for error in errors if isinstance(error, UserError)), errors[0])
        joining = [callback for callback in callbacks if isinstance(callback, Joining)]
        for number, callback in enumerate(joining):
            callback.join([part.parts[number] for part in found])
        return trainer.strategy.root_device

    def _gone(self) -> list[int]:
        """Exit statuses of processes that are not there any more; a broken connection tells of it before the system."""
        limit = time.monotonic() + _SECONDS_TO_END
        while True:
            gone = [status for process in self._others if (status := process.poll()) is not None]
            if gone or time.monotonic() > limit:
                return gone
            time.sleep(0.05)

    @property
    def is_there(self) -> bool:
        """Whether its processes wait for orders."""
        return not self._has_ended and all(process.poll() is None for process in self._others)

    def end(self) -> None:
        """Sends the other processes home."""
        if self._has_ended:
            return
        if self.is_there:
            with suppress(RuntimeError):  # one of them is gone, and the others notice
                dist.broadcast_object_list([None], src=0)
        self._has_ended = True
        limit = time.monotonic() + _SECONDS_TO_END
        for process in self._others:
            try:
                process.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        _leave_group()

    def _abandon(self) -> None:
        """Ends the other processes wherever they are."""
        self._has_ended = True
        for process in self._others:
            process.kill()
            process.wait()
        _leave_group()


_crews: list[Crew] = []


def crew_of(num_processes: int) -> Crew | None:
    """The processes of a run, the same for all runs of this process that want as many; None: this one is enough.

    Args:
        num_processes: how many are wanted.

    Raises:
        UserError: torchrun started another number.
    """
    if num_processes == 1 and torchrun_place() is None:
        return None
    if _crews and not (_crews[-1].is_there and num_processes in (1, _crews[-1].place.world_size)):
        _crews.pop().end()
    if not _crews:
        _crews.append(Crew(num_processes))
    return _crews[-1]


@atexit.register
def dismiss() -> None:
    """Sends the other processes home, also those of torchrun's that were never asked for anything."""
    atexit.unregister(dismiss)
    if not _crews and torchrun_place() is not None:
        crew_of(1)
    while _crews:
        _crews.pop().end()


def main() -> None:
    """What a process that the first one started does."""
    place = Place(**json.loads(sys.stdin.readline()))
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)  # nobody is left to do anything for

    threading.Thread(target=watch, daemon=True).start()
    follow(place)


def follow_torchrun() -> None:
    """Does the share of a process of torchrun's that is not the first."""
    # Waiting for orders happens inside torch, where no handler of Python's is heard.
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, signal.SIG_DFL)
    place = torchrun_place()
    assert place is not None, "torchrun says so"
    follow(place)


def follow(place: Place) -> None:
    """Does this process's share of whatever the first one asks for, until that ends.

    Args:
        place: which process this is.
    """
    atexit.unregister(dismiss)  # it is not for this process to send anyone home
    # The first process meets the same, and writes it down.
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    try:
        _join_group(place)
    except RuntimeError:  # the first process is gone, and has said why
        sys.exit(1)
    while True:
        orders: list[Any] = [None]
        dist.broadcast_object_list(orders, src=0)
        order = orders[0]
        if order is None:
            _leave_group()
            return
        try:
            loaded = keep_model(order.key)
            module, data, callbacks = unpacked(loaded, order.packed)
            trainer = _trainer(place, order.accelerator, callbacks)
        except Exception as error:
            _share(None, None, None, [], error)
        else:
            _share(trainer, module, data, callbacks, None)


def _share(
    trainer: Trainer | None,
    module: LightningModule | None,
    data: LightningDataModule | None,
    callbacks: Sequence[Callback],
    error: Exception | None,
) -> list[_Found]:
    """Does this process's share once all are ready, and returns what each found; waits for all, whatever they meet."""
    errors = _gathered(carried(error))
    if any(error is not None for error in errors):
        return [_Found([], error) for error in errors]
    assert trainer is not None
    try:
        trainer.predict(module, datamodule=data, return_predictions=False)
        own = _Found([callback.part() for callback in callbacks if isinstance(callback, Joining)], None)
    except Exception as met:
        own = _Found([], carried(met))
    return _gathered(own)


def _gathered(value: Any) -> list[Any]:
    """What each process says, in the order of their ranks; a signal is heard while others are waited for."""
    found: list[Any] = [None] * dist.get_world_size()
    _interruptibly(lambda: dist.all_gather_object(found, value))
    return found


def _interruptibly(call: Callable[[], object]) -> None:
    """Waits for other processes in a thread: inside torch no signal reaches Python, and they may take their time."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    if errors:
        raise errors[0]


def _trainer(place: Place, accelerator: str, callbacks: Sequence[Callback]) -> Trainer:
    return RunTrainer(
        accelerator=accelerator,
        devices=place.local_size,
        num_nodes=place.world_size // place.local_size,
        strategy=DDPStrategy(
            cluster_environment=environment_of(place), process_group_backend="gloo", timeout=_PATIENCE
        ),
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
    )


def _join_group(place: Place) -> None:
    dist.init_process_group(
        "gloo", init_method=place.meet, rank=place.rank, world_size=place.world_size, timeout=_PATIENCE
    )


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _start(place: Place, rank: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE, json.dumps([str(path) for path in sys.path])],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is meant for the first process, which tells the others
    )
    told = {**place.__dict__, "rank": rank, "local_rank": rank}
    assert process.stdin is not None
    process.stdin.write((json.dumps(told) + "\n").encode())
    process.stdin.close()
    return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
