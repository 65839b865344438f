from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Callback, Trainer

from bridgex.data.sentences import Sentences
from bridgex.extract.profiles import Profile
from bridgex.lit.probe import collect_profiles
from bridgex.lit.profiles import cached_profiles
from bridgex.records.cache import ArrayCache
from tests.fakes.tiny_models import make_loaded
from tests.fakes.trainer import make_trainer

pytestmark = [
    # Reading is the work here; workers that only cut lists of ids would add to it.
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # Lightning 2.6 uses a name that torch 2.13 has set aside.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

TEXTS = {
    "sw": Sentences("sw", ("Maji ya moto.", "Habari ya asubuhi?"), "1" * 64, "a file"),
    "de": Sentences("de", ("Wasser", "Guten Morgen!"), "2" * 64, "a file"),
}


def no_trainer(callbacks: Sequence[Callback]) -> Trainer:
    raise AssertionError("nothing is to be read")


def equal(one: Profile, other: Profile) -> bool:
    pairs = zip((*one.share, *one.mean), (*other.share, *other.mean), strict=True)
    return one.num_tokens == other.num_tokens and all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def test_what_is_kept_is_what_was_read_and_is_not_read_again(tmp_path: Path) -> None:
    loaded, cache = make_loaded(), ArrayCache(tmp_path, "profiles")
    read = collect_profiles(loaded, {code: text.texts for code, text in TEXTS.items()}, make_trainer, batch_tokens=90)
    first = cached_profiles(loaded, "model", TEXTS, cache, make_trainer, batch_tokens=90)
    again = cached_profiles(loaded, "model", TEXTS, cache, no_trainer)
    assert list(first) == list(again) == ["sw", "de"]
    assert all(equal(first[code], read[code]) and equal(again[code], read[code]) for code in TEXTS)


def test_only_what_is_lacking_is_read(tmp_path: Path) -> None:
    loaded, cache = make_loaded(), ArrayCache(tmp_path, "profiles")
    kept = cached_profiles(loaded, "model", {"de": TEXTS["de"]}, cache, make_trainer)["de"]
    # A text that would give another profile, under the same fingerprint: what stands in the cache is taken.
    texts = {"sw": TEXTS["sw"], "de": Sentences("de", ("Ganz anders.",), "2" * 64, "a file")}
    found = cached_profiles(loaded, "model", texts, cache, make_trainer)
    assert equal(found["de"], kept)
    assert len(list((tmp_path / "profiles").iterdir())) == 2


@pytest.mark.parametrize("changed", ["model", "dtype", "language", "text"])
def test_another_model_precision_language_or_text_is_read_again(tmp_path: Path, changed: str) -> None:
    loaded, cache = make_loaded(), ArrayCache(tmp_path, "profiles")
    cached_profiles(loaded, "model", {"sw": TEXTS["sw"]}, cache, make_trainer)
    if changed == "dtype":
        loaded.model.bfloat16()
    code = "de" if changed == "language" else "sw"
    text = Sentences(code, TEXTS["sw"].texts, ("3" if changed == "text" else "1") * 64, "a file")
    with pytest.raises(AssertionError, match="nothing is to be read"):
        cached_profiles(loaded, "other" if changed == "model" else "model", {code: text}, cache, no_trainer)
