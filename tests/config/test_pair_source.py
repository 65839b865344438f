from __future__ import annotations

from hydra import compose, initialize_config_dir

from bridgex.config import command
from bridgex.config.pair_source import PairSource, pair_names


def test_a_pair_needs_no_file() -> None:
    command.prepare()
    with initialize_config_dir(str(command.config_dir()), version_base="1.3"):
        config = compose("evaluate", overrides=["pair=zh_hant-sw"])
    assert dict(config.pair) == {"name": "zh_hant-sw", "source": "zh_hant", "target": "sw"}


def test_listing_is_sorted_complete_and_never_mixes_worlds() -> None:
    names = pair_names()
    assert names == sorted(set(names))
    assert {"en-sw", "sw-en", "qaa-qaf"} <= set(names)
    assert not {"en-en", "en-qaa", "qaa-en"} & set(names)
    source = PairSource("bridgex", "bridgex://languages")
    assert source.list("pair", None) == names
    assert source.list("", None) == ["pair"]
    assert source.list("model", None) == []
    assert source.is_config("pair/en-sw")
    assert not source.is_config("pair/en-xx")
    assert not source.is_config("model/toy")
