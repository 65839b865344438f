"""The language table: own names, families, and the code that each data set uses for a language.

`languages.csv` beside this module is the single source. Where data sets disagree about a code, the table says what each
of them calls its files or configs:

- `flores` holds FLORES+ codes (`openlanguagedata/flores_plus`), `belebele` FLORES-200 codes. They differ for Chinese
  (`cmn_Hans`, `zho_Hans`), Estonian (`ekk_Latn`, `est_Latn`), Guarani (`gug_Latn`, `grn_Latn`) and Tagalog (`fil_Latn`,
  `tgl_Latn`). FLORES+ has Twi twice; the table names the Akuapem text (`twi_Latn_akua1239`).
- `ntrex` follows the file names of NTREX-128, where English, the source text, is `eng`. Its Burmese (`mya`) is encoded
  in Zawgyi, not in Unicode.
- `xnli` includes Burmese, which comes from myXNLI. `xcopa` includes English, which comes from COPA, the data set that
  XCOPA translates; its configs on the hub have no `en`.
- `uriel` holds ISO 639-3 codes as URIEL has them. They differ from `iso639_3` for Arabic (`arb`), Chinese (`cmn`) and
  Twi (`aka`, which has features where `twi` has next to none).
- `resource` is the class 0 (least) to 5 (most) of Joshi et al. 2020, "The State and Fate of Linguistic Diversity and
  Inclusion in the NLP World"; for toy languages, 5 hub, 3 moderate, 1 low.

The environment variable `BRIDGEX_LANGUAGES` may name a CSV file with languages of one's own. It has the same columns,
of which `branch`, `resource` and those of data sets may be left out; none of its codes may be in the table already.
"""

import csv
import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from bridgex.errors import UserError

DATASETS = ("muse", "xnli", "afrixnli", "belebele", "flores", "ntrex", "xcopa", "mgsm", "uriel")
"""The data sets for which the table has codes."""

CANDIDATES = ("en", "de", "fr", "it", "pt", "es")
"""Default bridge candidates of a pair of real languages."""

TOY_CANDIDATES = ("qaa", "qad", "qag", "qaj")
"""Default bridge candidates of a pair of toy languages: the four hubs."""

OWN_TABLE = "BRIDGEX_LANGUAGES"
"""The environment variable that names a file of one's own languages."""

_REQUIRED = ("code", "name", "english", "family", "script", "iso639_3")
_COLUMNS = (*_REQUIRED, "branch", "resource", *DATASETS)
_FORMS = MappingProxyType(
    {
        "code": (r"[a-z]{2,3}(_[a-z0-9]+)?", "two or three letters a-z, and _ before a variant, e.g. xx or xxx_north"),
        # A name in a prompt must not be able to end the prompt's quotes or to look like its arrow.
        "name": (r'[^"“”:→]+', "the language's name for itself, without quotes, colon and arrow"),
        "english": (r".+", "its English name"),
        "family": (r".+", "its family, e.g. Uralic"),
        "script": (r"[A-Z][a-z]{3}", "an ISO 15924 code, e.g. Latn"),
        "iso639_3": (r"[a-z]{3}", "three letters a-z"),
        "resource": (r"[0-5]?", "0 to 5, or empty"),
    }
)

# What people type that neither a name nor a code of the table explains: withdrawn codes (iw, in), ISO 639-2/B codes
# (ger, fre), country codes taken for language codes (jp, cn), and what YAML makes of an unquoted `no`.
_ALIASES = MappingProxyType(
    {
        "alb": "sq", "arm": "hy", "baq": "eu", "bur": "my", "chi": "zh", "cze": "cs", "dut": "nl", "fre": "fr",
        "geo": "ka", "ger": "de", "gre": "el", "ice": "is", "mac": "mk", "mao": "mi", "may": "ms", "per": "fa",
        "rum": "ro", "slo": "sk", "wel": "cy",
        "in": "id", "iw": "he", "jw": "jv", "mo": "ro", "nb": "no", "fil": "tl", "ak": "tw",
        "cn": "zh", "cz": "cs", "dk": "da", "gr": "el", "jp": "ja", "kr": "ko", "ua": "uk", "vn": "vi",
        "false": "no", "bokmål": "no", "burma": "my", "castilian": "es", "chewa": "ny", "farsi": "fa",
        "filipino": "tl", "flemish": "nl", "luganda": "lg", "mandarin": "zh", "moldovan": "ro", "myanmar": "my",
        "oriya": "or", "panjabi": "pa", "sesotho": "st", "setswana": "tn", "sinhalese": "si", "slovene": "sl",
        "sorani": "ckb", "zh_cn": "zh", "zh_hans": "zh", "zh_hk": "zh_hant", "zh_tw": "zh_hant",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Language:
    """One language of the table.

    Attributes:
        code: ISO 639-1 where it exists, else ISO 639-3; script variants with `_` (`zh_hant`); never a hyphen.
        name: the language's name for itself, as prompts use it.
        english: its English name.
        family: top-level family.
        branch: branch of that family; empty for toy languages.
        script: ISO 15924 code of the script that the data sets use.
        resource: class 0 to 5 of Joshi et al. 2020, None where that list lacks the language.
        iso639_3: ISO 639-3 code, of the macrolanguage where `code` is one.
        muse: code in MUSE, None where the data set lacks the language; so on for the other data sets.
        xnli: code in XNLI and myXNLI.
        afrixnli: code in AfriXNLI.
        belebele: code in Belebele.
        flores: code in FLORES+.
        ntrex: code in NTREX-128.
        xcopa: code in XCOPA and COPA.
        mgsm: code in MGSM.
        uriel: code in URIEL.
    """

    code: str
    name: str
    english: str
    family: str
    branch: str
    script: str
    resource: int | None
    iso639_3: str
    muse: str | None
    xnli: str | None
    afrixnli: str | None
    belebele: str | None
    flores: str | None
    ntrex: str | None
    xcopa: str | None
    mgsm: str | None
    uriel: str | None

    @property
    def is_toy(self) -> bool:
        """Whether the language is an invented one of the toy world (ISO 639 reserves qaa to qtz for local use)."""
        return len(self.code) == 3 and "qaa" <= self.code <= "qtz"

    def code_for(self, dataset: str) -> str | None:
        """Code that a data set uses for this language.

        Args:
            dataset: one of `DATASETS`.

        Returns:
            The code, or None where the data set lacks the language.

        Raises:
            ValueError: the table has no column for `dataset`.

        Example:
            >>> language("zh").code_for("belebele"), language("sw").code_for("muse")
            ('zho_Hans', None)
        """
        if dataset not in DATASETS:
            raise ValueError(f"no codes for data set {dataset!r}; the table has {', '.join(DATASETS)}")
        code: str | None = getattr(self, dataset)
        return code


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """An ordered pair of languages, written `source-target`.

    Attributes:
        source: code of the input's language.
        target: code of the output's language.

    Raises:
        UserError: a code is not in the table, both are the same, or one is a toy language and the other is not.

    Example:
        >>> pair = Pair.parse("en-sw")
        >>> pair.source, str(pair.reversed())
        ('en', 'sw-en')
    """

    source: str
    target: str

    def __post_init__(self) -> None:
        table = _by_code()
        given = f"pair {str(self)!r}"
        unknown = [code for code in (self.source, self.target) if code not in table]
        if unknown:
            parts = [f"no language {code!r}{_did_you_mean(code)}" for code in dict.fromkeys(unknown)]
            hint = "" if all(near_matches(code, table) for code in unknown) else f" {_known()}"
            raise UserError(f"{given}: {'; '.join(parts)}.{hint}")
        if self.source == self.target:
            raise UserError(f"{given}: source and target are the same. Choose two different languages.")
        toy = [code for code in (self.source, self.target) if table[code].is_toy]
        if len(toy) == 1:
            real = self.target if toy[0] == self.source else self.source
            raise UserError(
                f"{given}: {toy[0]} is a toy language, {real} ({table[real].english}) a real one. Pair a toy language "
                f"with a toy one ({_toy_codes()}), a real one with a real one."
            )

    @classmethod
    def parse(cls, text: str) -> "Pair":
        """Reads `source-target`, exactly as `str` writes it.

        Args:
            text: two codes of the table with one hyphen, such as `en-sw`.

        Returns:
            The pair.

        Raises:
            UserError: another form, or two codes that make no pair; every mistake in one line.
        """
        parts = text.split("-")
        if len(parts) != 2 or not all(parts):
            meant = _pair_meant(text)
            hint = f" (did you mean {meant}?)" if meant else ""
            raise UserError(f"pair {text!r}: expected the form source-target, e.g. en-sw{hint}.")
        return cls(*parts)

    def reversed(self) -> "Pair":
        """The pair with source and target exchanged."""
        return Pair(self.target, self.source)

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


@cache
def all_languages() -> tuple[Language, ...]:
    """All languages: real ones by code, those of `BRIDGEX_LANGUAGES` among them, then toy ones.

    Raises:
        UserError: `BRIDGEX_LANGUAGES` names a file that cannot be read or has mistakes, one line each.
    """
    text = files("bridgex").joinpath("languages.csv").read_text(encoding="utf-8")
    shipped = tuple(_from_row(row) for row in csv.DictReader(text.splitlines()))
    named = os.environ.get(OWN_TABLE)
    if not named:
        return shipped
    everything = [*shipped, *_own_languages(named, shipped)]
    return tuple(sorted(everything, key=lambda entry: (entry.is_toy, entry.code)))


def language(code: str) -> Language:
    """The language with this code.

    Args:
        code: code of the table, exactly; other spellings are named in the error, never accepted.

    Returns:
        Its row of the table.

    Raises:
        UserError: no such code; the message names near matches, or all codes where nothing is near.
    """
    found = _by_code().get(code)
    if found is None:
        hint = _did_you_mean(code)
        raise UserError(f"no language {code!r}{hint}." if hint else f"no language {code!r}. {_known()}")
    return found


def near_matches(word: str, allowed: Iterable[str], n: int = 3) -> list[str]:
    """Allowed words that the user may have meant, best first.

    Besides similar spelling it knows languages by English name, own name, ISO 639-3 code and data set code.

    Args:
        word: what the user wrote.
        allowed: what could have been written.
        n: at most so many.

    Returns:
        Up to `n` of `allowed`; where another spelling or name fits exactly, only what it fits.

    Example:
        >>> [near_matches(word, ["de", "he", "xnli", "bli"]) for word in ("german", "iw", "xnlli")]
        [['de'], ['he'], ['xnli']]
    """
    key = _key(word)
    names: dict[str, list[str]] = {}
    for choice in allowed:
        names.setdefault(_key(choice), []).append(choice)
    offered = {choice for choices in names.values() for choice in choices}
    # `en_US` and `pt-br` mean their first part, but only where that part is a language.
    stem = key.partition("_")[0] if key.partition("_")[0] in _names() else key
    for name, codes in _names().items():
        if codes_offered := [code for code in codes if code in offered]:
            names.setdefault(name, codes_offered)
    if exact := names.get(key) or names.get(stem):
        return exact[:n]
    best = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if not best:
        return []
    cutoff = max(0.6, difflib.SequenceMatcher(None, best[0], key).ratio() - 0.1)
    similar = difflib.get_close_matches(key, names, n=len(names), cutoff=cutoff)
    return list(dict.fromkeys(choice for name in similar for choice in names[name]))[:n]


def candidates(pair: Pair) -> tuple[str, ...]:
    """Default bridge candidates of a pair: `CANDIDATES` (toy pair: `TOY_CANDIDATES`) less source and target."""
    pool = TOY_CANDIDATES if _by_code()[pair.source].is_toy else CANDIDATES
    return tuple(code for code in pool if code not in (pair.source, pair.target))


def _from_row(row: Mapping[str, str]) -> Language:
    return Language(
        code=row["code"],
        name=row["name"],
        english=row["english"],
        family=row["family"],
        branch=row["branch"],
        script=row["script"],
        resource=int(row["resource"]) if row["resource"] else None,
        iso639_3=row["iso639_3"],
        **{dataset: row[dataset] or None for dataset in DATASETS},
    )


def _own_languages(named: str, shipped: Sequence[Language]) -> list[Language]:
    given = f"{OWN_TABLE}={named}"
    try:
        reader = csv.DictReader(Path(named).expanduser().read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"{given}: cannot be read ({reason}). Give a CSV file, or unset {OWN_TABLE}") from None
    columns = list(reader.fieldnames or ())
    problems = [
        f"{given}: no column {name!r}. Needed: {', '.join(_REQUIRED)}" for name in _REQUIRED if name not in columns
    ]
    problems += [
        f"{given}: column {name!r} is not known. Allowed: {', '.join(_COLUMNS)}"
        for name in columns
        if name not in _COLUMNS
    ]
    if problems:
        raise UserError(*problems)
    taken = {entry.code: entry.english for entry in shipped}
    found: list[Language] = []
    for row in reader:
        place = f"{given}, line {reader.line_num}"
        wrong = _row_problems(row, taken)
        problems += [f"{place}: {line}" for line in wrong]
        if not wrong:
            found.append(_from_row({name: (row.get(name) or "").strip() for name in _COLUMNS}))
            taken[found[-1].code] = found[-1].english
    if problems:
        raise UserError(*problems)
    return found


def _row_problems(row: Mapping[str | None, str | None], taken: Mapping[str, str]) -> list[str]:
    if None in row:
        return ["more cells than columns. Quote a cell that holds a comma"]
    cells = {str(name): (value or "").strip() for name, value in row.items()}
    forms = [(name, cells[name], *form) for name, form in _FORMS.items() if name in cells]
    lines = [f"{name}={cell!r}: should be {words}" for name, cell, form, words in forms if not re.fullmatch(form, cell)]
    code = cells["code"]
    if code in taken:
        lines.append(f"code={code!r}: is {taken[code]} already. Choose another code, e.g. {code}_own")
    elif len(code) == 3 and "qaa" <= code <= "qtz":
        lines.append(f"code={code!r}: qaa to qtz are the toy world's. Choose another code, e.g. {code}_own")
    return lines


@cache
def _by_code() -> Mapping[str, Language]:
    return MappingProxyType({entry.code: entry for entry in all_languages()})


@cache
def _names() -> Mapping[str, tuple[str, ...]]:
    """Codes by every other spelling of a language; several where it is shared, such as `zho`."""
    found: dict[str, dict[str, None]] = {}
    for entry in all_languages():
        spellings = [entry.code, entry.english, entry.name, entry.iso639_3]
        for code in filter(None, map(entry.code_for, DATASETS)):
            spellings += [code, _key(code).partition("_")[0]]
        for spelling in spellings:
            found.setdefault(_key(spelling), {})[entry.code] = None
    for alias, code in _ALIASES.items():
        found.setdefault(alias, {})[code] = None
    return MappingProxyType({name: tuple(codes) for name, codes in found.items()})


def _key(word: str) -> str:
    return str(word).strip().casefold().replace("-", "_")


def _did_you_mean(code: str) -> str:
    near = near_matches(code, _by_code())
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _pair_meant(text: str) -> str | None:
    """The one pair that a text of another form can mean: `en_sw`, `zh-hant-en`, `german to swahili`."""
    words = [word for word in re.split(r"[^\w']+|_|→", text) if word and word.casefold() != "to"]
    meant = set()
    for cut in range(1, len(words)):
        sides = ["_".join(words[:cut]), "_".join(words[cut:])]
        codes = [_names().get(_key(side), ()) for side in sides]
        if all(codes) and codes[0][0] != codes[1][0]:
            meant.add(f"{codes[0][0]}-{codes[1][0]}")
    return meant.pop() if len(meant) == 1 else None


def _toy_codes() -> str:
    return " ".join(entry.code for entry in all_languages() if entry.is_toy)


def _known() -> str:
    real = " ".join(entry.code for entry in all_languages() if not entry.is_toy)
    return f"Languages: {real}; toy languages: {_toy_codes()}."
