"""Reads a command line before Hydra acts on it: every mistake at once, and nothing made on disk while there is one."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bridgex.config import pair_source
from bridgex.config.composing import composed
from bridgex.config.mistakes import launcher_problem, not_allowed, secret_on_disk, unknown_key
from bridgex.errors import UserError
from bridgex.languages import Pair
from bridgex.secrets import holds_secret

Config = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One job of a command.

    Attributes:
        config: the resolved config, without `hydra`.
        folder: where the job writes.
        overrides: what composes it, beside the command's choice of `hydra` keys.
        problems: why it cannot run, where other cells of its sweep can.
    """

    config: Config
    folder: Path
    overrides: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """A command that was checked.

    Attributes:
        cells: its jobs, in the order in which Hydra's own sweeper makes them, each once.
        sweep: the sweep's folder; None for a single run.
        launcher: import path of Hydra's launcher.
        sweeper: import path of Hydra's sweeper.
    """

    cells: list[Cell]
    sweep: Path | None
    launcher: str
    sweeper: str


def config_dir() -> Path:
    """The folder of the yaml files: `conf/` of a clone, or the installed package `bridgex.conf`."""
    package = Path(__file__).resolve().parents[1]
    in_clone = package.parent / "conf"
    return in_clone if (in_clone / "evaluate.yaml").is_file() else package / "conf"


def prepare() -> None:
    """Registers the pair source and the resolvers that the yaml files use; may be called more than once."""
    pair_source.register()
    OmegaConf.register_new_resolver("bridgex.config_hash", _hash_of_root, replace=True)
    OmegaConf.register_new_resolver("bridgex.choices", choices_text, replace=True)


def plain(config: DictConfig) -> Config:
    """A resolved config as plain data, without the node `hydra`.

    Raises:
        UserError: an interpolation that cannot be resolved, or a mandatory value that is missing.
    """
    config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        return {str(key): value for key, value in _container(config, throw=True).items()}
    except OmegaConfBaseException as error:
        raise UserError(_one_line(error)) from None


def check(
    entry: str,
    overrides: Sequence[str],
    validate: Callable[[Config], object],
    agree: Callable[[Config], object] = lambda config: None,
    *,
    is_multirun: bool = False,
    user_dir: str | None = None,
) -> list[Cell]:
    """The jobs of a command that `read` checks."""
    return read(entry, overrides, validate, agree, is_multirun=is_multirun, user_dir=user_dir).cells


def read(
    entry: str,
    overrides: Sequence[str],
    validate: Callable[[Config], object],
    agree: Callable[[Config], object] = lambda config: None,
    *,
    is_multirun: bool = False,
    user_dir: str | None = None,
) -> Command:
    """Checks a command whole.

    In a sweep, a cell whose values do not go together, or that asks for what the data lack, is one that fails; the
    others can run. Where none can, or one that fails is to stop the sweep, the command is refused.

    Args:
        entry: `evaluate` or `train`, the name of the primary config.
        overrides: the command's overrides, as typed.
        validate: checks the keys and values of one resolved config, or raises UserError.
        agree: checks whether the values of one config go together and what they name is there, or raises UserError;
            asked only where nothing else is wrong, for a refused choice leaves the default one in its place.
        is_multirun: whether several values of a key are meant as a sweep.
        user_dir: folder of a user's own yaml files (`--config-dir`).

    Raises:
        UserError: with one line for every mistake in the command.
    """
    with open_hydra(entry, overrides, user_dir) as loader:
        base = _base_of(entry, overrides)
        good: list[Override] = []
        problems: list[str] = []
        is_multirun, swept = _sweep_of(entry, overrides, loader, is_multirun)
        for text in [*swept, *overrides]:
            override, found = _read_override(text, loader, base, is_multirun)
            problems += found
            if override is not None and not found:
                good.append(override)
        problems += [f"{text}: is no UTF-8. Rename the file or folder" for text in overrides if not _is_utf8(text)]
        problems += [secret_on_disk(text) for text in overrides if is_multirun and holds_secret(text)]
        command, value_problems, misfits = _compose_all(entry, good, validate, base, is_multirun)
        rest = good
        if value_problems and not problems:
            # What else is wrong shows with the default in the place of each bad value; what is said of those is echo.
            rest = [override for override in good if not _is_about(value_problems, override)]
            command, _, _ = _compose_all(entry, rest, validate, base, is_multirun)
    dropped = [override for override in good if override not in rest]
    cells = [_agreed(cell, agree, dropped) for cell in command.cells] if not problems else []
    # Where a choice was refused, what does not compose without it is only its echo.
    problems += value_problems + ([] if problems else misfits)
    if problems or not is_multirun or _is_fail_fast(cells) or all(cell.problems for cell in cells):
        problems += [line for cell in cells for line in cell.problems]
    if problems:
        raise UserError(*dict.fromkeys(problems))
    return replace(command, cells=cells)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _agreed(cell: Cell, agree: Callable[[Config], object], dropped: Sequence[Override]) -> Cell:
    """The cell, with why it cannot run; what is said of overrides that were dropped is not its own."""
    try:
        agree(cell.config)
    except UserError as error:
        own = [line for line in error.problems if not any(_is_about([line], override) for override in dropped)]
        return replace(cell, problems=tuple(own))
    return cell


def _is_fail_fast(cells: Sequence[Cell]) -> bool:
    return any(cell.config["sweep"].get("fail_fast") for cell in cells)


def choices_text(entry: str) -> str:
    """The choices of every group, one group a line, for `--help`."""
    groups = [folder for folder in sorted(config_dir().iterdir()) if folder.is_dir() and folder.name != "__pycache__"]
    used = (config_dir() / f"{entry}.yaml").read_text(encoding="utf-8")
    return "\n".join(
        f"{folder.name}: {', '.join(sorted(file.stem for file in folder.glob('[!_]*.yaml')))}"
        for folder in groups
        if re.search(rf"^  - (optional )?{folder.name}:", used, flags=re.MULTILINE)
    )


@contextmanager
def open_hydra(entry: str, overrides: Sequence[str], user_dir: str | None) -> Iterator[ConfigLoader]:
    """Hydra over our folder and the user's own ones, so that their choices are known before composing."""
    prepare()
    version.setbase("1.3")
    search_path = create_config_search_path(str(config_dir()))
    for place in _own_places(overrides, user_dir):
        search_path.prepend("command-line", place, SearchPathQuery(provider="schema"))
    GlobalHydra.instance().clear()
    try:
        yield Hydra.create_main_hydra2(entry, search_path).config_loader
    finally:
        GlobalHydra.instance().clear()


def _own_places(overrides: Sequence[str], user_dir: str | None) -> list[str]:
    if user_dir is not None and not Path(user_dir).is_dir():
        raise UserError(f"--config-dir {user_dir}: no such folder")
    places = [f"file://{Path(user_dir).resolve()}"] if user_dir is not None else []
    for text in overrides:
        key, _, value = text.partition("=")
        if key == "hydra.searchpath":
            places += [place.strip(" '\"") for place in value.strip("[]").split(",")]
    return places


def _is_about(lines: Sequence[str], override: Override) -> bool:
    key = override.key_or_group
    return any(line.startswith((f"{key}=", f"{key}:", f"{key}.")) for line in lines)


def _base_of(entry: str, overrides: Sequence[str]) -> DictConfig | None:
    """What the command changes: the default config, of the chosen experiment if there is one."""
    try:
        chosen = [text for text in overrides if text.startswith("experiment=")]
        return composed(entry, chosen)
    except (HydraException, OmegaConfBaseException):
        return None


def _sweep_of(entry: str, overrides: Sequence[str], loader: ConfigLoader, is_multirun: bool) -> tuple[bool, list[str]]:
    """Whether the command is a sweep, and the axes that an experiment's own yaml gives it."""
    parser = OverridesParser.create(config_loader=loader)
    try:
        single = [text for text in overrides if not parser.parse_override(text).is_sweep_override()]
        config = composed(entry, single)
    except (HydraException, OmegaConfBaseException):
        return is_multirun, []  # what is wrong is found, and named, when it is read again
    is_sweep = is_multirun or config.hydra.mode == RunMode.MULTIRUN
    params = config.hydra.sweeper.get("params") or {}
    return is_sweep, [f"{key}={value}" for key, value in params.items()] if is_sweep else []


def _read_override(
    text: str, loader: ConfigLoader, base: DictConfig | None, is_multirun: bool
) -> tuple[Override | None, list[str]]:
    """One override, and what is wrong with it as far as that shows without composing."""
    try:
        override = OverridesParser.create(config_loader=loader).parse_override(text)
    except HydraException:
        return None, [f"{text}: cannot be read. Write key=value; quote values that hold spaces, commas or brackets"]
    key = override.key_or_group
    if override.is_hydra_override():
        return override, []
    if override.is_delete():
        if base is None or not _lacks(base, key) or loader.get_group_options(key):
            return override, []
        return override, [unknown_key(key, sorted(set(map(str, base)) - {"hydra"}))]
    if override.is_sweep_override() and not is_multirun:
        return override, [f"{text}: several values are a sweep. Add -m, or give one value"]
    choices = [] if key == "pair" else [name for name in loader.get_group_options(key) if not name.startswith("_")]
    if key == "pair" or choices:
        given = list(override.sweep_string_iterator()) if override.is_sweep_override() else [override.value()]
        return override, [line for choice in given for line in _choice_problems(key, choice, choices)]
    if base is not None and not (override.is_add() or override.is_force_add()) and key.split(".")[0] not in base:
        groups = set(loader.list_groups("")) & (set(map(str, base)) | {"experiment"})
        return override, [unknown_key(key, sorted((groups | set(map(str, base))) - {"hydra"}))]
    return override, []


def _choice_problems(group: str, choice: object, choices: list[str]) -> list[str]:
    if group == "pair":
        try:
            Pair.parse(str(choice))
        except UserError as error:
            return list(error.problems)
        return []
    if isinstance(choice, str) and choice not in choices:
        return [not_allowed(group, choice, sorted(choices))]
    return []


def _compose_all(
    entry: str,
    overrides: list[Override],
    validate: Callable[[Config], object],
    base: DictConfig | None,
    is_multirun: bool,
) -> tuple[Command, list[str], list[str]]:
    """The command with the cells that are right, the mistakes in values, and what Hydra cannot put together at all."""
    from bridgex.config.settings import config_hash

    cells: dict[tuple[Path, str], Cell] = {}
    sweep, launcher, sweeper = None, "", ""
    problems: list[str] = []
    misfits: list[str] = []
    for choice in _product(overrides, base):
        try:
            config = composed(entry, choice)
            HydraConfig.instance().set_config(config)  # the folders' names interpolate from it
            place = config.hydra.sweep if is_multirun else config.hydra.run
            folder = Path(place.dir) / place.subdir if is_multirun else Path(place.dir)
            sweep = Path(place.dir).absolute() if is_multirun else None
            launcher, sweeper = config.hydra.launcher._target_, config.hydra.sweeper._target_
            cell = Cell(plain(config), folder.absolute(), tuple(choice))
            validate(cell.config)
            cells.setdefault((cell.folder, config_hash(cell.config)), cell)
        except UserError as error:
            problems += error.problems
        except ConfigCompositionException as error:
            if (pair := re.search(r"Could not find 'pair/([^']+)'", str(error))) is not None:
                # Hydra would list all of them.
                problems += _choice_problems("pair", pair[1], []) or [f"pair={pair[1]}: no such pair"]
                continue
            if (missing := re.search(r"Could not find 'hydra/launcher/([^']+)'", str(error))) is not None:
                problems.append(launcher_problem(missing[1]))
                continue
            misfit = re.match(r"In '(\w+)/(\w+)'", str(error))
            text = f"{misfit[1]}={misfit[2]}: does not fit {entry}.py. " if misfit else ""
            misfits.append(text + _one_line(error))
        except (HydraException, OmegaConfBaseException) as error:
            misfits.append(_one_line(error))
    problems += _shared_folders(list(cells))
    return Command(list(cells.values()), sweep, launcher, sweeper), problems, misfits


def _shared_folders(places: Sequence[tuple[Path, str]]) -> list[str]:
    folders = Counter(folder for folder, _ in places)
    return [
        f"hydra.sweep.subdir: {count} cells that differ would write to {folder}. Leave the key out, or let it end in "
        f"${{bridgex.config_hash:}}"
        for folder, count in folders.items()
        if count > 1
    ]


def _product(overrides: list[Override], base: DictConfig | None) -> Iterator[list[str]]:
    """The override lists of all jobs, in the order of Hydra's basic sweeper: the last key varies fastest."""
    axes = []
    for override in overrides:
        key = override.get_key_element()
        # A key that the default config lacks is added here, so that validation names it with its neighbours;
        # Hydra itself would stop at the first one.
        is_new = "." in key and base is not None and _lacks(base, key) and not key.startswith(("+", "~"))
        prefix = "++" if is_new else ""
        if override.is_sweep_override():
            axes.append([f"{prefix}{key}={value}" for value in override.sweep_string_iterator()])
        else:
            axes.append([f"{prefix}{override.input_line}"])
    return (list(choice) for choice in itertools.product(*axes))


def _lacks(base: DictConfig, key: str) -> bool:
    node: Any = base
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node:
            return True
        node = node._get_node(part)
    return False


def _one_line(error: BaseException) -> str:
    """Hydra's and OmegaConf's words for a mistake, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("full_key:", "object_type=", "Set the environment"))]
    key = next((line.partition(":")[2].strip() for line in lines if line.startswith("full_key:")), "")
    text = " ".join(kept)
    return f"{key}: {text}" if key and not text.startswith(key) else text


def _hash_of_root(*, _root_: DictConfig) -> str:
    from bridgex.config.settings import config_hash  # only a sweep asks, and pydantic takes its time

    return config_hash(plain(_root_))


def _container(config: DictConfig, *, throw: bool) -> Mapping[Any, Any]:
    result = OmegaConf.to_container(config, resolve=True, throw_on_missing=throw)
    if not isinstance(result, dict):
        raise TypeError("a config is a mapping")
    return result
