"""The data sets that bridgex knows: where each comes from, its licence, its splits and its languages.

Imports nothing heavy, so that a command's check and `bridgex data list` answer at once. Revisions are commits that
public code pins; where none was found the newest commit is read, and the one that was read is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from bridgex.languages import DATASETS, all_languages, language

Purpose = Literal["evaluated", "demonstrations", "probing", "fine-tuning"]


@dataclass(frozen=True)
class Licence:
    """What a data set's owners allow.

    Attributes:
        name: as its owners write it.
        page: where it stands.
        non_commercial: whether commercial use is forbidden.
        share_alike: whether what is made from it must carry the same licence.
        gated: whether the hub asks to log in and accept terms first.
    """

    name: str
    page: str
    non_commercial: bool = False
    share_alike: bool = False
    gated: bool = False

    def conditions(self) -> tuple[str, ...]:
        """What a user must know, in a few words; empty where attribution is all that is asked."""
        known = (
            (self.non_commercial, "NON-COMMERCIAL use only"),
            (self.share_alike, "share alike"),
            (self.gated, "log in and accept its terms first"),
        )
        return tuple(text for is_asked, text in known if is_asked)

    def line(self) -> str:
        """Its name, and what it asks for."""
        return ", ".join((self.name, *self.conditions()))


@dataclass(frozen=True)
class Split:
    """A split that bridgex reads.

    Attributes:
        name: as the hub calls it.
        purpose: `evaluated`, `demonstrations` (rows for examples in a prompt), `probing` or `fine-tuning`.
        rows: how many a language has; None where it varies.
    """

    name: str
    purpose: Purpose
    rows: int | None


@dataclass(frozen=True)
class HubSource:
    """A data set on the Hugging Face hub.

    Attributes:
        hub_id: owner and name.
        revision: the commit to read; None: the newest.
        config: its config; None: the language's code.
        columns: our column by theirs, where they differ.
    """

    hub_id: str
    revision: str | None = None
    config: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        name: its folder under `data.root`.
        title: its own name.
        licence: what its owners allow.
        splits: the ones that bridgex reads, the evaluated one first.
        columns: what each row must have.
        tasks: what a command writes to use it; empty: read for probing or profiles only.
        kilobytes: roughly, of one language (of one pair, where it holds pairs), all splits read.
        source: on the hub; None: plain files.
        others: by our language code, where that language comes from instead.
        addresses: plain files, with `{}` for what differs.
        holds_pairs: whether its files are of language pairs.
        codes: our codes of its languages, where the language table has no column for it.
    """

    name: str
    title: str
    licence: Licence
    splits: tuple[Split, ...]
    columns: tuple[str, ...]
    tasks: tuple[str, ...]
    kilobytes: int
    source: HubSource | None = None
    others: Mapping[str, HubSource] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    holds_pairs: bool = False
    codes: tuple[str, ...] = ()

    @property
    def evaluated(self) -> Split:
        """The split that is evaluated."""
        return self.splits[0]

    def code_for(self, code: str) -> str | None:
        """What the data set calls a language; None where it lacks it.

        A toy language goes by its own code: whether the toy world has it there, its folder tells.
        """
        entry = language(code)
        if entry.is_toy:
            return code
        if self.name in DATASETS:
            return entry.code_for(self.name)
        return code if code in self.codes else None

    def languages(self) -> tuple[str, ...]:
        """Our codes of its languages, toy ones left out, in the table's order."""
        real = [entry.code for entry in all_languages() if not entry.is_toy]
        return tuple(code for code in real if self.code_for(code) is not None)

    def source_of(self, code: str) -> HubSource | None:
        """Where a language is on the hub; None where the data set is not there."""
        return self.others.get(code, self.source)


_BY_NC = "CC BY-NC 4.0"
_BY_SA = "CC BY-SA 4.0"
_NC_PAGE = "https://creativecommons.org/licenses/by-nc/4.0/"
_SA_PAGE = "https://creativecommons.org/licenses/by-sa/4.0/"

# Row counts are those of the data sets' own papers and cards; XCOPA's, MGSM's, Belebele's and NTREX's were checked on
# copies, XNLI's, AfriXNLI's, FLORES+'s and MUSE's were not. Sizes are rough.
_ALL = (
    DataSet(
        name="muse",
        title="MUSE bilingual dictionaries",
        licence=Licence(_BY_NC, "https://github.com/facebookresearch/MUSE/blob/main/LICENSE", non_commercial=True),
        splits=(Split("test", "evaluated", 1500), Split("train", "probing", 5000)),
        columns=(),
        tasks=("task=bli",),
        kilobytes=200,
        addresses=("https://dl.fbaipublicfiles.com/arrival/dictionaries/{}",),
        holds_pairs=True,
    ),
    DataSet(
        name="freedict_sw",
        title="FreeDict English-Swahili",
        licence=Licence("GPL-2.0-or-later", "https://www.gnu.org/licenses/gpl-2.0.html", share_alike=True),
        splits=(Split("test", "evaluated", None), Split("train", "probing", None)),
        columns=(),
        tasks=("task=bli",),
        kilobytes=400,
        # The commit whose files were looked at.
        addresses=(
            "https://raw.githubusercontent.com/freedict/fd-dictionaries/c4ec720264bdcc2e34ce604d9308f5948ae7b7b7/{}",
        ),
        holds_pairs=True,
        codes=("en", "sw"),
    ),
    DataSet(
        name="xnli",
        title="XNLI; Burmese from myXNLI",
        licence=Licence(_BY_NC, "https://github.com/facebookresearch/XNLI/blob/main/LICENSE", non_commercial=True),
        splits=(
            Split("test", "evaluated", 5010),
            Split("validation", "demonstrations", 2490),
            Split("train", "fine-tuning", 392702),
        ),
        columns=("premise", "hypothesis", "label"),
        tasks=("task=xnli",),
        kilobytes=600,
        # The commit that turned it from a script into parquet files.
        source=HubSource("facebook/xnli", "b8dd5d7af51114dbda02c0e3f6133f332186418e"),
        # Its columns are known from code that reads it; its card says CC BY-NC 2.0, the licence file beside its own
        # sources CC BY-NC 4.0.
        others=MappingProxyType(
            {
                "my": HubSource(
                    "akhtet/myXNLI",
                    config="default",
                    columns=MappingProxyType({"sentence1_my": "premise", "sentence2_my": "hypothesis"}),
                )
            }
        ),
    ),
    DataSet(
        name="afrixnli",
        title="AfriXNLI",
        licence=Licence("Apache-2.0", "https://huggingface.co/datasets/masakhane/afrixnli"),
        splits=(Split("test", "evaluated", 600), Split("validation", "demonstrations", 450)),
        columns=("premise", "hypothesis", "label"),
        tasks=("task=xnli task.variant=afrixnli",),
        kilobytes=250,
        source=HubSource("masakhane/afrixnli", "e3ca06b30f3e7af2a86f6c8609ea76fee326bc56"),
    ),
    DataSet(
        name="belebele",
        title="Belebele",
        licence=Licence(_BY_SA, "https://huggingface.co/datasets/facebook/belebele", share_alike=True),
        splits=(Split("test", "evaluated", 900),),
        columns=(
            "link",
            "question_number",
            "flores_passage",
            "question",
            "mc_answer1",
            "mc_answer2",
            "mc_answer3",
            "mc_answer4",
            "correct_answer_num",
        ),
        tasks=("task=belebele",),
        kilobytes=1100,
        # The commit that public code pins (75b3993) has the languages as splits of one config, as the hub has not now.
        source=HubSource("facebook/belebele"),
    ),
    DataSet(
        name="xcopa",
        title="XCOPA; English from COPA (BSD-2-Clause)",
        licence=Licence("CC BY 4.0", "https://huggingface.co/datasets/cambridgeltl/xcopa"),
        splits=(Split("test", "evaluated", 500), Split("validation", "demonstrations", 100)),
        columns=("premise", "choice1", "choice2", "question", "label", "idx"),
        tasks=("task=xcopa",),
        kilobytes=60,
        source=HubSource("cambridgeltl/xcopa", "042f78955ba48e6404616762fa6e05e839c3907a"),
        others=MappingProxyType({"en": HubSource("aps/super_glue", config="copa")}),
    ),
    DataSet(
        name="mgsm",
        title="MGSM",
        # So the hub's card; the licence file beside the authors' own files says CC BY 4.0.
        licence=Licence(_BY_SA, "https://huggingface.co/datasets/juletxara/mgsm", share_alike=True),
        splits=(Split("test", "evaluated", 250), Split("train", "demonstrations", 8)),
        columns=("question", "answer", "answer_number"),
        tasks=("task=mgsm",),
        kilobytes=100,
        # Older commits need a script, which today's `datasets` does not run.
        source=HubSource("juletxara/mgsm"),
    ),
    DataSet(
        name="ntrex",
        title="NTREX-128",
        licence=Licence(_BY_SA, "https://github.com/MicrosoftTranslator/NTREX/blob/main/LICENSE.md", share_alike=True),
        splits=(Split("test", "evaluated", 1997),),
        columns=("text",),
        tasks=("task=mt",),
        kilobytes=400,
        addresses=(
            "https://raw.githubusercontent.com/MicrosoftTranslator/NTREX/8561f6a622db9edad1217683e5c83daefd8bb2bf/"
            "NTREX-128/{}",
        ),
    ),
    DataSet(
        name="flores",
        title="FLORES+",
        licence=Licence(
            _BY_SA, "https://huggingface.co/datasets/openlanguagedata/flores_plus", share_alike=True, gated=True
        ),
        splits=(Split("devtest", "evaluated", 1012), Split("dev", "demonstrations", 997)),
        columns=("text",),
        tasks=("task=mt",),
        kilobytes=300,
        source=HubSource("openlanguagedata/flores_plus"),
    ),
)

CATALOGUE: Mapping[str, DataSet] = MappingProxyType({entry.name: entry for entry in _ALL})
"""Every data set by name."""


def data_set(name: str) -> DataSet:
    """The data set of this name.

    Raises:
        ValueError: there is none; the caller's mistake, for a user's is checked before.
    """
    if name not in CATALOGUE:
        raise ValueError(f"no data set {name!r}; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
