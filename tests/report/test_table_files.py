from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bridgex.errors import UserError
from bridgex.report.markup import tag
from bridgex.report.table_files import csv_text, keys_of, latex, latex_text, plain, with_files, write_tables
from bridgex.report.tables import MISSING, Cell, Column, Row, Table, number

EVIL = r"""a_b & 100 % #1 {x} \input{/etc/passwd} $y$ ~^ <i> | "q" -- `c` [0] * † …"""
SCORE = 0.123456789012345


def latex_of(found: Table) -> str:
    return latex_text(found, "sweep")


def one(*cells: str | Cell, columns: int = 0, **more: object) -> Table:
    heads = [Column(f"c{place}", place > 0) for place in range(columns or len(cells))]
    return Table("one", "one", heads, [Row(list(cells))], **more)  # type: ignore[arg-type]


def read(found: Table) -> list[list[str]]:
    return list(csv.reader(io.StringIO(csv_text(found), newline=""), strict=True))


def test_csv_holds_numbers_as_recorded_and_nothing_where_one_is_missing() -> None:
    found = one("p", Cell(number(SCORE), SCORE), Cell(number(None), None), Cell("1,234", 1234), MISSING)
    assert read(found) == [["c0", "c1", "c2", "c3", "c4"], ["p", repr(SCORE), "", "1234", ""]]
    assert csv_text(found).endswith("\r\n")
    assert csv_text(found).count("\r\n") == 2


def test_csv_gives_an_interval_columns_of_its_own() -> None:
    columns = [Column("pair", False), Column("gain"), Column("gain", group="bli")]
    rows = [
        Row(["a", Cell("+.100 [.000, +.200]", 0.1, ci95=(0.0, 0.2)), "x"]),
        Row(["b", Cell("+.300", 0.3), "y"]),
    ]
    found = Table("t", "t", columns, rows, [Row(["all", Cell("+.200", 0.2), "z"])])
    assert read(found) == [
        ["pair", "gain", "gain low", "gain high", "bli gain"],
        ["a", "0.1", "0.0", "0.2", "x"],
        ["b", "0.3", "", "", "y"],
        ["all", "0.2", "", "", "z"],
    ]


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2", "@SUM(A1)", "＝1", " =1", "\t=1", "\r\n=1"])
def test_a_name_does_not_become_a_formula(name: str) -> None:
    (cell,) = read(one(name))[1]
    assert cell == f"'{name.strip()}"
    (head,) = read(Table("t", "t", [Column(name)], []))[0]
    assert head.startswith("'")


def test_a_negative_number_is_a_number() -> None:
    assert read(one("p", Cell(number(-0.5), -0.5)))[1][1] == "-0.5"


def test_csv_quotes_what_needs_it_and_keeps_every_script() -> None:
    names = ['say "hi", she', "中文; العربية", "line\nbreak", "\x00\x1b[1m"]
    assert [read(one(name))[1] for name in names] == [
        ['say "hi", she'], ["中文; العربية"], ["line break"], ["[1m"],
    ]  # fmt: skip


def test_markup_is_not_in_files() -> None:
    shown = Cell(tag("a", tag("b", "x < y & z"), href="q"), "0 sorted", plain="")
    assert plain(shown.text) == "x < y & z"
    assert read(one(shown))[1] == ["x < y & z"]
    assert read(one(shown._replace(plain="word")))[1] == ["word"]
    assert read(one("<b>"))[1] == ["<b>"], "text that was never markup stays"


def unescaped(text: str) -> str:
    """LaTeX as it is set, by rules of its own: an independent reading of the escapes."""
    words = {
        "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">",
        "textbar": "|", "char34": '"', "textasciigrave": "`", "dag": "†", "textendash": "–", "dots": "…",
        "textperiodcentered": "·",
    }  # fmt: skip
    text = re.sub(r"\\([a-z]+\d*)\{\}", lambda found: words[found[1]].replace("\\", "\x01"), text)
    text = re.sub(r"\\([&%$#_{}])", lambda found: {"{": "\x02", "}": "\x03"}.get(found[1], found[1]), text)
    return text.replace("{}", "").replace("\x01", "\\").replace("\x02", "{").replace("\x03", "}")


def test_latex_sets_every_letter_as_it_is() -> None:
    assert unescaped(latex(EVIL)) == EVIL
    assert latex("−.025") == "$-$.025"
    assert latex("a\nb\x00") == "a b"
    assert "--" not in latex("a----b")


def test_latex_is_balanced_whatever_the_names() -> None:
    found = one(EVIL, Cell(".5", 0.5, is_strong=True, mark="*†"), marks=(("*", EVIL), ("†", "labels")), note=EVIL)
    text = latex_of(found._replace(label=EVIL, columns=[Column(EVIL, False, group=EVIL), Column("n", group="g")]))
    bare = re.sub(r"\\[{}\\]", "", text)
    assert bare.count("{") == bare.count("}")
    for name in ("table", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1
    (line,) = [line for line in text.splitlines() if line.startswith(latex(EVIL)) and line.endswith("\\\\")][1:]
    assert line.count("&") - line.count(r"\&") == 1, "as many cells as columns"
    assert r"\textbf{.5}$^{*}$$^{\dagger}$" in line
    assert r"$^{*}$ " + latex(EVIL) in text
    assert text.index(r"\bottomrule") < text.index(r"$^{\dagger}$ labels")


def test_latex_has_groups_over_their_columns_and_leaves_out_what_it_should() -> None:
    columns = [
        Column("pair", False),
        Column("verdict", False, group="bli", in_latex=False),
        Column("direct", group="bli"),
        Column("via", group="bli"),
        Column("direct", group="mt"),
    ]
    lines = latex_of(Table("t", "t", columns, [Row(["a", "w", "1", "2", "3"])])).splitlines()
    top = lines.index(r"\toprule")
    assert lines[top + 1 : top + 6] == [
        r" & \multicolumn{2}{c}{bli} & \multicolumn{1}{c}{mt} \\",
        r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}",
        r"pair & direct & via & direct \\",
        r"\midrule",
        r"a & 1 & 2 & 3 \\",
    ]
    assert r"\begin{tabular}{lrrr}" in lines


@pytest.mark.parametrize("name", ["[0.5]", "*"])
def test_a_bracket_is_no_argument_of_the_line_break_before_it(name: str) -> None:
    assert f"\\midrule\n{{}}{name} \\\\" in latex_of(one(name))


def test_a_long_table_breaks_over_pages_and_a_wide_one_is_set_smaller() -> None:
    rows = [Row([f"p{place}", "x"]) for place in range(41)]
    long = latex_of(Table("t", "t", [Column("a"), Column("b")], rows, [Row(["sum", "y"])]))
    assert "% Made by bridgex. Packages: booktabs, longtable." in long
    assert r"\begin{longtable}{rr}" in long
    assert long.index(r"\endhead") < long.index("p0 &") < long.index("p40 &") < long.index("sum &")
    assert long.count(r"\label") == 1
    wide = latex_of(one("x" * 80, "y"))
    assert "% Made by bridgex. Packages: booktabs, graphicx." in wide
    assert r"\resizebox{\linewidth}{!}{\begin{tabular}{lr}" in wide
    assert r"\end{tabular}}" in wide


def test_files_are_named_by_what_sets_tables_apart() -> None:
    assert keys_of("grid", ["", "model a/b", "model a b", "../../x", "中文"]) == [
        "grid", "grid-model-a-b", "grid-model-a-b-2", "grid-x", "grid-中文",
    ]  # fmt: skip


def test_files_are_written_beside_the_page_and_linked(tmp_path: Path) -> None:
    found = one("a", Cell(".5", 0.5))
    write_tables(tmp_path, [found])
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["one.csv", "one.tex"]
    assert (tmp_path / "tables" / "one.csv").read_bytes() == b"c0,c1\r\na,0.5\r\n"
    for name in ("one.csv", "one.tex"):
        assert f'href="./tables/{name}"' in with_files(found)
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "tables").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match=r"file/tables: cannot be made \(File exists\)"):
        write_tables(tmp_path / "file", [found])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex (Debian: texlive-latex-recommended)")
def test_latex_compiles(tmp_path: Path) -> None:
    note = "−.025 · – …"
    tables = [
        one(EVIL, Cell(".5", 0.5, is_strong=True, mark="*†"), marks=(("*", EVIL),), note=note)._replace(label=EVIL),
        one("[0]", "[.1, .2]", "*")._replace(key="brackets"),
        Table("long", "long", [Column("a", group="g"), Column("b")], [Row([f"[{i}]", EVIL]) for i in range(90)]),
    ]
    write_tables(tmp_path, tables)
    body = "\n".join(f"\\input{{tables/{found.key}}}" for found in tables)
    head = r"\documentclass{article}\usepackage{booktabs,longtable,graphicx}\begin{document}"
    text = f"{head}{body}\\end{{document}}"
    (tmp_path / "all.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
