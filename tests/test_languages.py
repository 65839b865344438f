import os
import pickle
import re
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgex import languages
from bridgex.errors import UserError
from bridgex.languages import DATASETS, Language, Pair, all_languages, candidates, language, near_matches

PAPER = {"zh", "ja", "ar", "he", "id", "tl", "fi", "hu", "sw", "en", "de", "fr", "it", "pt", "es"}
XNLI = {"ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"}
XCOPA = {"et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"}
MGSM = {"bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"}
MUSE = {
    *("af", "ar", "bg", "bn", "bs", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi", "hr"),
    *("hu", "id", "it", "ja", "ko", "lt", "lv", "mk", "ms", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sq", "sv"),
    *("ta", "th", "tl", "tr", "uk", "vi", "zh"),
}
AFRIXNLI = {
    *("amh", "eng", "ewe", "fra", "hau", "ibo", "kin", "lin", "lug", "orm", "sna", "sot", "swa", "twi", "wol", "xho"),
    *("yor", "zul"),
}
CODES = [entry.code for entry in all_languages()]
REAL = [entry for entry in all_languages() if not entry.is_toy]
TOY = [entry for entry in all_languages() if entry.is_toy]


def used(dataset: str) -> list[str]:
    return [code for entry in REAL if (code := entry.code_for(dataset)) is not None]


def problems(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        call()
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


class TestTable:
    def test_size_and_cover(self) -> None:
        assert len(REAL) >= 60
        assert [entry.code for entry in TOY] == [f"qa{letter}" for letter in "abcdefghijkl"]
        assert set(CODES) >= PAPER

    def test_codes_are_unique_and_ordered(self) -> None:
        assert len(set(CODES)) == len(CODES)
        assert [entry.code for entry in REAL] == sorted(entry.code for entry in REAL)

    @pytest.mark.parametrize("entry", all_languages(), ids=CODES)
    def test_row_is_well_formed(self, entry: Language) -> None:
        assert re.fullmatch(r"[a-z]{2,3}(_[a-z]{4})?", entry.code)
        assert re.fullmatch(r"[A-Z][a-z]{3}", entry.script)
        assert re.fullmatch(r"[a-z]{3}", entry.iso639_3)
        assert entry.resource is None or 0 <= entry.resource <= 5
        for text in (entry.name, entry.english, entry.family):
            assert text
            assert text == text.strip() == unicodedata.normalize("NFC", text)
        assert bool(entry.branch) != entry.is_toy
        # A name in a prompt must not be able to end the prompt's quotes.
        assert not set('"“”\n:→') & set(entry.name)
        assert not any(unicodedata.name(letter, "").startswith("HEBREW POINT") for letter in entry.name)
        assert not any(
            "ARABIC" in unicodedata.name(letter, "") and unicodedata.combining(letter) for letter in entry.name
        )
        assert any(entry.code_for(dataset) for dataset in DATASETS)

    @pytest.mark.parametrize("dataset", DATASETS)
    def test_no_two_languages_share_a_data_set_code(self, dataset: str) -> None:
        codes = used(dataset)
        if dataset == "uriel":
            codes.remove("cmn")  # URIEL knows languages, not scripts: zh and zh_hant are one.
        assert len(set(codes)) == len(codes)

    def test_own_names(self) -> None:
        names = {
            "en": "English", "de": "Deutsch", "fr": "français", "es": "español", "it": "italiano", "pt": "português",
            "fi": "suomi", "hu": "magyar", "id": "Indonesia", "sw": "Kiswahili", "zh": "中文", "ja": "日本語",
            "ar": "العربية", "he": "עברית", "tl": "Tagalog",
        }  # fmt: skip
        assert {code: language(code).name for code in names} == names
        assert all(entry.name == entry.code == entry.iso639_3 for entry in TOY)

    def test_families(self) -> None:
        assert language("sw").family == "Atlantic-Congo"
        assert language("sw").branch == "Bantu"
        assert {language(code).family for code in ("fi", "et", "hu")} == {"Uralic"}
        groups = {family: [entry.code for entry in TOY if entry.family == f"Toy {family}"] for family in "ABCD"}
        assert groups == {
            "A": ["qaa", "qab", "qac"],
            "B": ["qad", "qae", "qaf"],
            "C": ["qag", "qah", "qai"],
            "D": ["qaj", "qak", "qal"],
        }
        assert [(entry.english, entry.resource) for entry in TOY[:3]] == [
            ("Toy A hub", 5),
            ("Toy A moderate", 3),
            ("Toy A low", 1),
        ]

    def test_resource_classes(self) -> None:
        assert {code: language(code).resource for code in ("en", "pt", "id", "sw", "wo", "my", "vai")} == {
            "en": 5, "pt": 4, "id": 3, "sw": 2, "wo": 2, "my": 1, "vai": 0,
        }  # fmt: skip

    def test_reading_is_fast_and_light(self) -> None:
        best = min(self.seconds_to_read() for _ in range(20))
        assert best < 0.010
        heavy = {"torch", "numpy", "pydantic", "hydra"}
        script = f"import bridgex.languages, sys; print({heavy} & set(sys.modules))"
        shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert shown.stdout == "set()\n"

    @staticmethod
    def seconds_to_read() -> float:
        start = time.perf_counter()
        all_languages.__wrapped__()
        return time.perf_counter() - start


class TestDataSetCodes:
    def test_xnli(self) -> None:
        assert sorted(used("xnli")) == sorted(XNLI | {"my"})

    def test_xcopa(self) -> None:
        assert sorted(used("xcopa")) == sorted(XCOPA | {"en"})

    def test_mgsm(self) -> None:
        assert sorted(used("mgsm")) == sorted(MGSM)

    def test_muse(self) -> None:
        assert sorted(used("muse")) == sorted(MUSE)
        assert not {"sw", "ur", "my", "yo", "ha", "zu", "am"} & set(used("muse"))

    def test_afrixnli(self) -> None:
        assert sorted(used("afrixnli")) == sorted(AFRIXNLI)

    @pytest.mark.parametrize("dataset", ["muse", "xnli", "xcopa", "mgsm"])
    def test_sets_with_our_own_codes(self, dataset: str) -> None:
        assert all(entry.code_for(dataset) in (entry.code, None) for entry in REAL)

    def test_belebele_and_flores_carry_the_script(self) -> None:
        for entry in REAL:
            for code in (entry.belebele, entry.flores):
                if code is not None:
                    assert re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}(_[a-z]{4}\d{4})?", code)
                    assert code.split("_")[1] == entry.script
        assert all(re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", code) for code in used("belebele"))

    def test_where_flores_plus_and_belebele_differ(self) -> None:
        both = {entry.code: (entry.flores, entry.belebele) for entry in REAL if entry.belebele and entry.flores}
        assert {code: pair for code, pair in both.items() if pair[0] != pair[1]} == {
            "et": ("ekk_Latn", "est_Latn"),
            "gn": ("gug_Latn", "grn_Latn"),
            "tl": ("fil_Latn", "tgl_Latn"),
            "zh": ("cmn_Hans", "zho_Hans"),
            "zh_hant": ("cmn_Hant", "zho_Hant"),
        }

    def test_codes_that_are_easily_wrong(self) -> None:
        assert (language("sw").belebele, language("sw").ntrex) == ("swh_Latn", "swa")
        assert (language("fa").belebele, language("fa").ntrex) == ("pes_Arab", "fas")
        assert (language("ar").flores, language("ar").ntrex, language("ar").uriel) == ("arb_Arab", "arb", "arb")
        assert (language("zh").ntrex, language("zh_hant").ntrex) == ("zho-CN", "zho-TW")
        assert language("en").ntrex == "eng"
        assert language("ht").ntrex is None

    def test_toy_languages_are_in_the_toy_worlds_sets(self) -> None:
        for entry in TOY:
            in_sets = {dataset for dataset in DATASETS if entry.code_for(dataset) == entry.code}
            assert in_sets == {"muse", "xnli", "belebele", "flores", "ntrex"}
            assert all(entry.code_for(dataset) is None for dataset in set(DATASETS) - in_sets)

    def test_unknown_data_set(self) -> None:
        with pytest.raises(ValueError, match=r"^no codes for data set 'name'; the table has muse, xnli, .*, uriel$"):
            language("en").code_for("name")

    @pytest.mark.parametrize("dataset", ["ntrex", "belebele", "xnli", "xcopa", "mgsm", "flores", "muse", "uriel"])
    def test_every_name_in_the_data_folders_is_known(self, dataset: str) -> None:
        root = os.environ.get("BRIDGEX_TEST_DATA")
        if not root:
            pytest.skip("BRIDGEX_TEST_DATA names no folder of real data")
        folder = Path(root, dataset)
        if not folder.is_dir():
            pytest.skip(f"no {dataset} in {root}")
        if dataset == "uriel":
            rows = [line.split(",") for line in (folder / "distances.csv").read_text(encoding="utf-8").splitlines()[1:]]
            for ours, theirs in {pair for row in rows for pair in zip(row[:2], row[2:4], strict=True)}:
                assert language(ours).uriel == theirs
            return
        if dataset == "muse":
            names = {code for file in folder.glob("*-*.*.txt") for code in file.name.split(".")[0].split("-")}
        else:
            names = {entry.name for entry in folder.iterdir() if entry.is_dir()}
        assert names
        assert names <= set(used(dataset))


class TestPair:
    def test_parse(self) -> None:
        pair = Pair.parse("en-sw")
        assert (pair.source, pair.target, str(pair)) == ("en", "sw", "en-sw")
        assert pair.reversed() == Pair("sw", "en")
        assert str(Pair.parse("zh_hant-en")) == "zh_hant-en"
        assert str(Pair.parse("qaa-qaf")) == "qaa-qaf"

    @given(st.sampled_from(REAL) | st.sampled_from(TOY), st.data())
    def test_parse_reads_what_str_writes(self, source: Language, data: st.DataObject) -> None:
        others = [entry for entry in (TOY if source.is_toy else REAL) if entry != source]
        pair = Pair(source.code, data.draw(st.sampled_from(others)).code)
        assert Pair.parse(str(pair)) == pair
        assert Pair.parse(str(pair.reversed())).reversed() == pair

    @given(st.text(max_size=12))
    def test_any_text_is_a_pair_or_a_users_mistake(self, text: str) -> None:
        try:
            pair = Pair.parse(text)
        except UserError as error:
            lines = error.problems
        else:
            lines = (f"{pair}",)
            assert str(pair) == text
        assert len(lines) == 1
        assert "\n" not in lines[0]

    def test_pairs_sort_hash_and_travel(self) -> None:
        pairs = [Pair("ja", "zh"), Pair("en", "sw"), Pair("en", "de")]
        assert [str(pair) for pair in sorted(pairs)] == ["en-de", "en-sw", "ja-zh"]
        assert len({*pairs, Pair("en", "sw")}) == 3
        assert pickle.loads(pickle.dumps(pairs)) == pairs
        assert pickle.loads(pickle.dumps(language("sw"))) == language("sw")
        assert len(set(all_languages())) == len(CODES)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "jp-german",
                "pair 'jp-german': no language 'jp' (did you mean ja?); no language 'german' (did you mean de?).",
            ),
            ("EN-SW", "pair 'EN-SW': no language 'EN' (did you mean en?); no language 'SW' (did you mean sw?)."),
            ("eng-swh", "pair 'eng-swh': no language 'eng' (did you mean en?); no language 'swh' (did you mean sw?)."),
            ("en-swahili", "pair 'en-swahili': no language 'swahili' (did you mean sw?)."),
            ("qaa-qaa", "pair 'qaa-qaa': source and target are the same. Choose two different languages."),
            ("en-en", "pair 'en-en': source and target are the same. Choose two different languages."),
            ("en_sw", "pair 'en_sw': expected the form source-target, e.g. en-sw (did you mean en-sw?)."),
            ("ja zh", "pair 'ja zh': expected the form source-target, e.g. en-sw (did you mean ja-zh?)."),
            (
                "zh-hant-en",
                "pair 'zh-hant-en': expected the form source-target, e.g. en-sw (did you mean zh_hant-en?).",
            ),
            ("en-sw-de", "pair 'en-sw-de': expected the form source-target, e.g. en-sw."),
            ("en", "pair 'en': expected the form source-target, e.g. en-sw."),
            ("en-", "pair 'en-': expected the form source-target, e.g. en-sw."),
            ("", "pair '': expected the form source-target, e.g. en-sw."),
            (
                "en-qaa",
                "pair 'en-qaa': qaa is a toy language, en (English) a real one. Pair a toy language with a toy one "
                "(qaa qab qac qad qae qaf qag qah qai qaj qak qal), a real one with a real one.",
            ),
        ],
    )
    def test_message(self, text: str, message: str) -> None:
        assert problems(lambda: Pair.parse(text)) == (message,)

    def test_two_unknown_languages_are_named_at_once_with_all_that_exist(self) -> None:
        (message,) = problems(lambda: Pair.parse("xx-yy"))
        real = " ".join(entry.code for entry in REAL)
        toy = " ".join(entry.code for entry in TOY)
        assert message == f"pair 'xx-yy': no language 'xx'; no language 'yy'. Languages: {real}; toy languages: {toy}."

    def test_a_pair_is_checked_however_it_is_made(self) -> None:
        assert problems(lambda: Pair("en", "english"))[0].startswith("pair 'en-english': no language 'english'")


class TestLanguage:
    def test_message(self) -> None:
        assert problems(lambda: language("swahili")) == ("no language 'swahili' (did you mean sw?).",)
        assert problems(lambda: language("SW")) == ("no language 'SW' (did you mean sw?).",)
        assert problems(lambda: language("zzz"))[0].startswith("no language 'zzz'. Languages: af am ar ")

    def test_rows_are_read_once_and_cannot_change(self) -> None:
        assert language("sw") is language("sw")
        with pytest.raises(AttributeError):
            language("sw").name = "Swahili"  # type: ignore[misc]


class TestNearMatches:
    @pytest.mark.parametrize(
        ("word", "near"),
        [
            ("swahili", ["sw"]),
            ("german", ["de"]),
            ("Deutsch", ["de"]),
            ("日本語", ["ja"]),
            ("jp", ["ja"]),
            ("iw", ["he"]),
            ("fil", ["tl"]),
            ("ger", ["de"]),
            ("swh", ["sw"]),
            ("sw_Latn", ["sw"]),
            ("swh_Latn", ["sw"]),
            ("zho-TW", ["zh_hant"]),
            ("zho", ["zh", "zh_hant"]),
            ("en-US", ["en"]),
            ("portugese", ["pt"]),
            ("norwegain", ["no"]),
            ("False", ["no"]),
            ("xx", []),
            ("", []),
        ],
    )
    def test_languages(self, word: str, near: list[str]) -> None:
        assert near_matches(word, CODES) == near

    @pytest.mark.parametrize("entry", all_languages(), ids=CODES)
    def test_every_name_and_code_leads_back(self, entry: Language) -> None:
        for word in (entry.code.upper(), entry.english, entry.name, entry.flores, entry.belebele, entry.ntrex):
            assert word is None or entry.code in near_matches(word, CODES)
        assert entry.code in near_matches(entry.iso639_3, CODES)

    def test_only_what_is_allowed_is_named(self) -> None:
        assert near_matches("german", ["en", "fr"]) == []
        assert near_matches("xnlli", ["bli", "xnli", "mgsm"]) == ["xnli"]
        assert near_matches("bridge_candidates", ["bridge", "bridge.candidates"])[0] == "bridge.candidates"
        assert len(near_matches("qa", CODES, n=2)) <= 2

    def test_aliases_lead_to_languages_and_hide_none(self) -> None:
        assert set(languages._ALIASES.values()) <= set(CODES)
        assert not set(languages._ALIASES) & set(CODES)


class TestCandidates:
    def test_real(self) -> None:
        assert candidates(Pair("ja", "zh")) == ("en", "de", "fr", "it", "pt", "es")
        assert candidates(Pair("en", "sw")) == ("de", "fr", "it", "pt", "es")
        assert candidates(Pair("pt", "de")) == ("en", "fr", "it", "es")

    def test_toy(self) -> None:
        assert candidates(Pair("qaa", "qaf")) == ("qad", "qag", "qaj")
        assert candidates(Pair("qac", "qaf")) == ("qaa", "qad", "qag", "qaj")
        assert [entry.code for entry in TOY if entry.resource == 5] == list(languages.TOY_CANDIDATES)


class TestUserError:
    def test_lines(self) -> None:
        error = UserError("first", "second")
        assert error.problems == ("first", "second")
        assert str(error) == "first\nsecond"

    def test_survives_the_way_between_processes(self) -> None:
        again = pickle.loads(pickle.dumps(UserError("first", "second")))
        assert isinstance(again, UserError)
        assert again.problems == ("first", "second")

    def test_needs_a_line(self) -> None:
        with pytest.raises(ValueError, match="needs at least one line"):
            UserError()
