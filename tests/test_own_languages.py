"""Languages of one's own, from the file that BRIDGEX_LANGUAGES names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridgex import languages
from bridgex.config import command, settings
from bridgex.errors import UserError
from bridgex.languages import Pair, all_languages, candidates, language, near_matches

SHIPPED = all_languages()
HEADER = "code,name,english,family,script,iso639_3"
Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    """Writes a file of own languages and names it in the environment."""
    cached = (languages.all_languages, languages._by_code, languages._names)

    def write(*lines: str, header: str = HEADER) -> Path:
        path = tmp_path / "own.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        monkeypatch.setenv("BRIDGEX_LANGUAGES", str(path))
        for function in cached:
            function.cache_clear()
        return path

    yield write
    monkeypatch.undo()
    for function in cached:
        function.cache_clear()


def problems_of(call: Callable[[], object]) -> list[str]:
    with pytest.raises(UserError) as caught:
        call()
    return list(caught.value.problems)


def test_own_languages_stand_among_the_real_ones(table: Table) -> None:
    table(
        "lld,Ladin,Ladin,Indo-European,Latn,lld",
        '"nds_west","Plattdüütsch, westlich",Low Saxon (west),Indo-European,Latn,nds',
    )
    own = {entry.code for entry in all_languages()} - {entry.code for entry in SHIPPED}
    assert own == {"lld", "nds_west"}
    assert [entry for entry in all_languages() if entry.code not in own] == list(SHIPPED)
    real = [entry.code for entry in all_languages() if not entry.is_toy]
    assert real == sorted(real)
    assert language("nds_west").name == "Plattdüütsch, westlich"
    assert (language("lld").branch, language("lld").resource, language("lld").code_for("muse")) == ("", None, None)
    assert candidates(Pair.parse("en-lld")) == ("de", "fr", "it", "pt", "es")
    assert near_matches("ladin", ["lld", "de"]) == ["lld"]


def test_columns_of_data_sets_and_others_are_read_where_they_are_given(table: Table) -> None:
    table("lld,Ladin,Ladin,Indo-European,Latn,lld,1,Romance,lld_Latn", header=f"{HEADER},resource,branch,ntrex")
    ladin = language("lld")
    assert (ladin.resource, ladin.branch, ladin.code_for("ntrex")) == (1, "Romance", "lld_Latn")
    assert ladin.code_for("flores") is None


def test_a_command_takes_the_pair(table: Table) -> None:
    table("lld,Ladin,Ladin,Indo-European,Latn,lld")
    overrides = ["model=random", "pair=en-lld", "bridge.candidates=[it,de]"]
    (cell,) = command.check("evaluate", overrides, settings.validate)
    assert cell.config["pair"] == {"name": "en-lld", "source": "en", "target": "lld"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sw,x,X,F,Latn,swa", "code='sw': is Swahili already. Choose another code, e.g. sw_own"),
        ("qab,x,X,F,Latn,xxx", "code='qab': is Toy A moderate already. Choose another code, e.g. qab_own"),
        ("qax,x,X,F,Latn,xxx", "code='qax': qaa to qtz are the toy world's. Choose another code, e.g. qax_own"),
        (
            "X-Y,x,X,F,Latn,xxx",
            "code='X-Y': should be two or three letters a-z, and _ before a variant, e.g. xx or xxx_north",
        ),
        (
            'xx,"a""b",X,F,Latn,xxx',
            "name='a\"b': should be the language's name for itself, without quotes, colon and arrow",
        ),
        ("xx,,X,F,Latn,xxx", "name='': should be the language's name for itself, without quotes, colon and arrow"),
        ("xx,x,,F,Latn,xxx", "english='': should be its English name"),
        ("xx,x,X,,Latn,xxx", "family='': should be its family, e.g. Uralic"),
        ("xx,x,X,F,latin,xxx", "script='latin': should be an ISO 15924 code, e.g. Latn"),
        ("xx,x,X,F,Latn,english", "iso639_3='english': should be three letters a-z"),
        ("xx,x,X,F,Latn,xxx,y", "more cells than columns. Quote a cell that holds a comma"),
        ("xx,x,X,F", "script='': should be an ISO 15924 code, e.g. Latn"),
    ],
)
def test_a_mistake_in_a_row_names_its_line(table: Table, line: str, said: str) -> None:
    path = table("yy,y,Y,F,Latn,yyy", line)
    assert problems_of(all_languages)[0] == f"BRIDGEX_LANGUAGES={path}, line 3: {said}"


def test_all_mistakes_come_at_once_and_nothing_else_is_blamed(table: Table) -> None:
    path = table("xx,x,X,F,Latn,xxx", "xx,y,Y,F,Latn,yyy", "zz,z,Z,F,Latn,zzz,", "a,a,A,F,Latn,9", header=HEADER)
    found = problems_of(all_languages)
    assert [line.removeprefix(f"BRIDGEX_LANGUAGES={path}, line ").partition(":")[0] for line in found] == list("3455")
    assert problems_of(lambda: command.check("evaluate", ["pair=en-xx"], settings.validate)) == found
    assert problems_of(lambda: command.check("evaluate", [], settings.validate)) == found


def test_wrong_columns_and_files(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(header="code,name,englisch,family,script,iso639_3")
    missing, unknown = problems_of(all_languages)
    assert missing.startswith(f"BRIDGEX_LANGUAGES={path}: no column 'english'. Needed: code, name,")
    assert unknown.startswith(f"BRIDGEX_LANGUAGES={path}: column 'englisch' is not known. Allowed: code, name,")
    monkeypatch.setenv("BRIDGEX_LANGUAGES", str(tmp_path / "none.csv"))
    (line,) = problems_of(all_languages)
    assert line.endswith(
        "none.csv: cannot be read (No such file or directory). Give a CSV file, or unset BRIDGEX_LANGUAGES"
    )
    path.write_bytes(b"\xff\xfe")
    monkeypatch.setenv("BRIDGEX_LANGUAGES", str(path))
    (line,) = problems_of(all_languages)
    assert "cannot be read (not UTF-8)" in line
