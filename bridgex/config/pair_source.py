"""The config group `pair`: made from the language table for any two languages, no file each."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from bridgex.errors import UserError
from bridgex.languages import Pair, all_languages

_SCHEME = "bridgex"


def pair_names() -> list[str]:
    """All pairs of two real or two toy languages, sorted."""
    languages = all_languages()
    return sorted(
        f"{source.code}-{target.code}"
        for source in languages
        for target in languages
        if source != target and source.is_toy == target.is_toy
    )


class PairSource(ConfigSource):
    """Answers Hydra's questions about `pair/<source>-<target>`."""

    @staticmethod
    def scheme() -> str:
        """The scheme under which Hydra finds this source."""
        return _SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """The config of one pair: its name, source and target."""
        path = config_path.removesuffix(".yaml")
        pair = _parse(path)
        if pair is None:
            raise ConfigLoadError(f"no such pair: {path}")
        config = OmegaConf.create({"name": str(pair), "source": pair.source, "target": pair.target})
        return ConfigResult(
            provider=self.provider, path=f"{_SCHEME}://{self.path}", config=config, header={"package": None}
        )

    def available(self) -> bool:
        """The language table ships with the package."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether this source holds a group at this path."""
        return config_path in ("", "pair")

    def is_config(self, config_path: str) -> bool:
        """Whether this source can make a config for this path."""
        return _parse(config_path.removesuffix(".yaml")) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """What lies under a path: the group `pair`, or its pairs."""
        if config_path == "" and results_filter in (None, ObjectType.GROUP):
            return ["pair"]
        if config_path == "pair" and results_filter in (None, ObjectType.CONFIG):
            return pair_names()
        return []


class PairSearchPath(SearchPathPlugin):
    """Puts the source on Hydra's search path, so that globs and completion know it too."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appends the source."""
        search_path.append(provider="bridgex", path=f"{_SCHEME}://languages")


def register() -> None:
    """Makes both plugins known to Hydra; may be called more than once."""
    known = Plugins.instance().class_name_to_class
    for plugin in (PairSource, PairSearchPath):
        if f"{plugin.__module__}.{plugin.__qualname__}" not in known:
            Plugins.instance().register(plugin)


def _parse(path: str) -> Pair | None:
    group, _, name = path.partition("/")
    if group != "pair" or not name:
        return None
    all_languages()  # a mistake in one's own table is not a mistake in the pair
    try:
        return Pair.parse(name)
    except UserError:
        return None
