from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bridgex.records.schema import Status
from bridgex.records.train_schema import Controls
from bridgex.report import html
from bridgex.report.label_places import Place, name_places, side_steps, spread, text_width
from bridgex.report.plots import Axes, Line, Point, lines, scatter, small_scatter
from tests.report import made_up, made_up_train
from tests.report.test_html import EVIL, Page, checked

RELATIONS = [
    made_up_train.relation("drift ~ distance", "genealogical", 1, "mean", -0.4, 0.4, n=2),
    made_up_train.relation("drift ~ distance", "genealogical", 2, "mean", -0.9, 0.001, n=2),
    made_up_train.relation("drift ~ transfer", "transfer", 2, "mean", 0.5, 0.2, ci95=None, partial=None),
    made_up_train.relation("distance ~ transfer", "genealogical", None, None, -0.7, 0.0004),
]


def written(run: Path) -> Page:
    """A run's page, whose text holds no value that Python writes for none."""
    page = checked(html.write_run_page(run))
    assert not re.search(r"\b(nan|None|inf)\b", page.text)
    return page


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return written(made_up_train.small_run(tmp_path, relations=RELATIONS))


def test_the_verdict_says_relations_transfer_and_depth_in_this_order(page: Page) -> None:
    said = [
        "No relation survives the correction.",
        "Transfer: accuracy in the source: qaa Toy A hub .900 [.850, .950]; best target qab Toy A moderate .750, worst "
        "qac Toy A low .400; mean transfer gap .325 (n = 2 languages).",
        "Drift grows with depth: Spearman of block and mean drift 1.000 (mean pooling, unbiased CKA).",
        "Transfer Drift Relations Controls How it was run",
    ]
    places = [page.text.index(part) for part in said]
    assert places == sorted(places)
    assert 'class="verdict found"' in page.source
    assert "Fine-tuned on qaa: Toy A hub" in page.text
    assert "nli · toy · nothing frozen · 1,200 steps · 2 target languages · seed 3" in page.text


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (0.8, "Drift does not grow with depth here: Spearman of block and mean drift is .800, read with cls pooling"),
        (-0.4, "Drift does not grow with depth here: Spearman of block and mean drift is −.400, read with cls pooling"),
        (None, "Drift: too few blocks to say whether it grows with depth (cls pooling, unbiased CKA)."),
    ],
)
def test_drift_that_does_not_grow_with_depth_is_said(tmp_path: Path, depth: float | None, words: str) -> None:
    assert words in written(made_up_train.small_run(tmp_path, depth=depth, pooling="cls")).text


def test_the_language_table_holds_the_recorded_numbers(page: Page) -> None:
    head, source, near, far = page.table("transfer by language")
    assert head == [
        "language", "accuracy", "gap", "hypothesis-only", "untrained head", "tokens per pair", "pairs cut",
        "genealogical distance", "mean drift", "alignment", "profile similarity",
    ]  # fmt: skip
    assert source == ["qaa Toy A hub", ".900[.850, .950]", "–", ".500", ".310", "11.0", "0", "–", ".500", "–", "–"]
    assert near == [
        "qab Toy A moderate", ".750[.700, .800]", ".150[.100, .200]", ".450", ".330", "12.5", "0", ".500", ".350",
        ".750", ".610",
    ]  # fmt: skip
    assert far[5:] == ["21.2", "7", "1.000", ".400", ".350", ".370"]
    assert "Mean drift: over block 1, 2, mean pooling." not in page.text
    assert "Mean drift: over blocks 1, 2, mean pooling. Alignment: CKA of the base model with the source" in page.text
    # Minus signs and intervals are no numbers to a browser, so that each such cell says what it is sorted by.
    assert 'data-sort="0.75"' in page.source
    assert "<script>" in page.source


def test_charts_have_one_element_a_language(page: Page) -> None:
    assert page.source.count('class="line chosen"') == 1
    assert page.source.count('class="line plain"') == 2
    assert '<circle r="5" class="dot plain">' in page.source
    assert page.source.count('class="dot chosen"') == 2, "the source, and a correlation that survives"
    assert "chance, majority" in page.text


def test_drift_is_a_map_that_says_what_is_missing(tmp_path: Path) -> None:
    drift = {"qaa": {1: 0.2, 2: 0.8}, "qab": {2: 0.6}, "qac": {1: 0.3, 2: 0.5}}
    page = written(made_up_train.small_run(tmp_path, drift=drift))
    assert page.table("drift by language and block, mean pooling") == [
        ["language", "1", "2"],
        ["qaa Toy A hub", ".200", ".800"],
        ["qab Toy A moderate", "–", ".600"],
        ["qac Toy A low", ".300", ".500"],
        ["mean", ".250", ".633"],
    ]
    assert "–: missing, because a side does not vary there" in page.text
    assert "Mean drift: over block 2, mean pooling." in page.text


def test_a_block_that_hangs_on_one_pair_is_named(tmp_path: Path) -> None:
    metrics = made_up_train.small_metrics()
    rows = made_up_train.drift_rows({"qab": metrics.drift["qab"]}, top=[0.1, 0.5, 0.73])
    page = written(made_up_train.write_run(tmp_path, metrics, drift=rows))
    assert (
        "One pair makes .730 of the statistic in block 2 (qab .730): a massive activation; read that block with care."
        in page.text
    )
    assert "in block 1 (" not in page.text


def test_other_poolings_and_steps_are_shown(tmp_path: Path) -> None:
    metrics = made_up_train.small_metrics()
    other = {"qaa": {1: 0.11, 2: 0.12}, "qab": {1: 0.13, 2: 0.14}}
    rows = [
        *made_up_train.drift_rows(metrics.drift, step=600),
        *made_up_train.drift_rows(metrics.drift),
        *made_up_train.drift_rows(other, "last", 600),
        *made_up_train.drift_rows(other, "last"),
    ]
    page = written(made_up_train.write_run(tmp_path, metrics, drift=rows))
    assert page.table("drift by language and block, last pooling")[1] == ["qaa Toy A hub", ".110", ".120"]
    assert "drift with last pooling" in page.text
    assert "Mean drift of 3 languages over the steps of fine-tuning, one line a block" in page.text
    assert page.source.count('class="line plain"') == 2 + 3


def test_points_have_names_and_a_caption_with_the_corrected_p(tmp_path: Path) -> None:
    page = written(made_up_train.toy_run(tmp_path))
    assert re.search(
        r"Genealogical distance and drift, block \d: Spearman [−+]\.\d+ \[[^]]*\], p [=<] \.\d+, corrected p [=<] "
        r"\.\d+ \(Westfall-Young\), [.\d< ]+ \(Holm\), n = 11\. Shown: the block with the largest \|Spearman\| of 6\.",
        page.text,
    )
    shown = re.findall(r'aria-label="genealogical distance and drift, block \d">(.*?)</div>', page.source, re.S)
    assert len(shown) == 1
    assert shown[0].count("<circle") == 11
    for code in made_up_train.TOY[1:]:
        assert f'class="name">{code}</text>' in shown[0]
    assert "Distances from qaa: the toy world as planted." in page.text
    for title in ("Distance against drift", "Drift against transfer", "Distance against transfer"):
        assert title in page.text
    assert page.source.count('aria-label="block ') == 10, "five other blocks of each relation with drift"


def test_relations_hold_every_p_beside_its_corrected_one(page: Page) -> None:
    head, first, second = page.table("Drift and distance, mean pooling, genealogical")
    assert head == [
        "block", "Spearman", "95 % interval", "p", "p, Westfall-Young", "p, Holm", "one left out", "partial",
        "Pearson", "n",
    ]  # fmt: skip
    assert first == ["1", "−.400", "[−.700, −.100]", ".400", "1.000", "1.000", "[−.500, −.300]", "−.200", "−.360", "2"]
    assert second[:6] == ["2", "−.900", "[−1.000, −.600]", ".001", ".003", ".004"]
    alone = page.table("Drift and transfer, mean pooling")[1]
    assert (alone[2], alone[7]) == ("–", "–")
    assert page.table("Distance and transfer")[1][:6] == [
        "genealogical", "−.700", "[−1.000, −.400]", "&lt; .001", ".001", ".002",
    ]  # fmt: skip
    assert (
        "Of 2 tests, 1 survives the correction (Westfall-Young p < .05): genealogical in block 2 (negative). By Holm 1."
        in page.text
    )
    assert "The only test does not hold: corrected p = .600 (transfer in block 2)." in page.text
    assert "The only test holds: genealogical (negative), corrected p = .001." in page.text


def test_controls_compare_the_same_items(tmp_path: Path) -> None:
    metrics = made_up_train.small_metrics()
    labels = []
    for code, full, only in (("qaa", 90, 50), ("qab", 45, 45), ("qac", 40, 42)):
        labels += made_up_train.answers(code, "fine-tuned", [place < full for place in range(100)])
        labels += made_up_train.answers(code, "hypothesis-only", [place < only for place in range(100)])
    page = written(made_up_train.write_run(tmp_path, metrics, labels=labels))
    rows = page.table("full model less hypothesis-only")
    assert rows[1][:3] == ["qaa Toy A hub", ".900", ".500"]
    assert rows[1][3].startswith("+.400[+.")
    assert [row[4] for row in rows[1:]] == ["yes", "no", "no"]
    assert rows[2][3].startswith(".000[−")
    assert "The full model is not above it in qab, qac: there the score shows no more than surface cues" in page.text
    assert "Chance .333: guessing. Majority .350" in page.text
    assert "Not above both by the whole 95 % interval: qac." in page.text
    assert (
        "Untrained head : the same model with a new head, before any training: .310 to .340 by language." in page.text
    )


def test_controls_without_answers_go_by_the_scores_and_say_so(page: Page) -> None:
    assert page.table("full model less hypothesis-only")[3] == ["qac Toy A low", ".400", ".420", "−.020", "no"]
    assert "else by the scores alone" in page.text


def test_how_it_was_run_is_on_record(page: Page) -> None:
    for part in (
        f"base fingerprint {'ab' * 32}",
        "training loss .250 (mean over the last twentieth of the steps)",
        "recipe learning rate 2e-05, batch size 32, max length 128",
        "config hash 0123abcd",
        "versions bridgex 0.1.0",
        "Files: config.yaml status.json metrics.json drift.jsonl",
    ):
        assert part in page.text


@pytest.mark.parametrize(
    "more",
    [
        {"distances": {}, "distances_origin": None},
        {"relations": []},
        {"drift": {"qaa": {}, "qab": {}, "qac": {}}, "depth": None},
        {"drift": {"qaa": {2: 0.1}, "qab": {2: 0.0}, "qac": {2: 1e-17}}, "depth": None},
        {"drift": {code: {0: 0.0, 1: 1e-16, 2: 0.0} for code in ("qaa", "qab", "qac")}},
        {"controls": Controls(chance=0.5, majority=0.5, untrained={}, fertility={}, num_cut={})},
        {"source": "qaa+qab"},
        {"transfer": {"qaa": made_up_train.small_metrics().transfer["qaa"]}, "distances": {}},
    ],
)
def test_what_is_missing_breaks_nothing(tmp_path: Path, more: dict[str, Any]) -> None:
    page = written(made_up_train.small_run(tmp_path, **{"relations": RELATIONS, **more}))
    assert "Fine-tuned on qaa" in page.text
    if "relations" in more:
        assert "No correlation is on record" in page.text
    if "controls" in more:
        assert "not trained in this run" in page.text
    if more.get("source"):
        assert "accuracy in the sources: qaa Toy A hub .900 [.850, .950], qab Toy A moderate .750" in page.text


def test_frozen_blocks_do_not_drift_and_can_be_drawn(tmp_path: Path) -> None:
    run = made_up_train.toy_run(tmp_path)
    metrics = made_up_train.small_metrics()
    names = made_up_train.TOY
    drift = {code: {0: 0.0, 1: 1e-16 * place, 2: 0.1 + 0.01 * place} for place, code in enumerate(names)}
    scores = dict.fromkeys(names, metrics.transfer["qab"])
    frozen = metrics.model_copy(
        update={"transfer": scores, "drift": drift, "distances": {"x": dict.fromkeys(names, 0.5)}, "freeze": "blocks 1"}
    )
    page = written(made_up_train.write_run(run, frozen, drift=made_up_train.drift_rows(drift)))
    assert "frozen: blocks 1" in page.text
    assert "no correlation is on record" in page.text


def test_what_data_say_is_text(tmp_path: Path) -> None:
    metrics = made_up_train.small_metrics(
        task=EVIL, model=EVIL, freeze=EVIL, metric=EVIL, survives=EVIL, distances_origin=EVIL, base_fingerprint=EVIL,
        distances={EVIL: {"qab": 0.5, "qac": 1.0, EVIL: 0.7}}, pooling=EVIL, estimator=EVIL,
        relations=[made_up_train.relation("drift ~ distance", EVIL, 1, EVIL, -0.9, 0.001)],
    )  # fmt: skip
    metrics = metrics.model_copy(
        update={
            "transfer": {**metrics.transfer, EVIL: metrics.transfer["qac"]},
            "drift": {**metrics.drift, EVIL: metrics.drift["qac"]},
        }
    )
    state = made_up.status("done", notes=[EVIL], details=[EVIL], error=EVIL, device=EVIL, versions={EVIL: EVIL})
    rows = made_up_train.drift_rows(metrics.drift, EVIL, top=[0.1, 0.9, 0.9])
    run = made_up_train.write_run(tmp_path, metrics, state, rows)
    page = checked(html.write_run_page(run))
    assert page.elements.count("script") == 1, "its own"
    assert page.text.count(EVIL) > 30


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (made_up.status("running", end=None), "This run is still running"),
        (
            made_up.status("interrupted"),
            "This run was interrupted. The same command with the same hydra.run.dir goes on",
        ),
        (made_up.status("failed", error="no data for <xx>"), "This run failed. no data for <xx>"),
    ],
)
def test_a_run_that_is_not_done_says_so(tmp_path: Path, state: Status, words: str) -> None:
    labels = made_up_train.answers("qab", "fine-tuned", [True, False])
    page = written(made_up_train.write_run(tmp_path, state=state, labels=labels))
    assert words in page.text
    assert "On record: 2 answers, drift of 0 languages." in page.text
    assert "Fine-tuned on qaa: Toy A hub" in page.text
    assert "Attention" not in page.text
    assert "script" not in page.elements


def test_a_run_that_has_begun_only_says_that_nothing_is_on_record(tmp_path: Path) -> None:
    page = written(made_up_train.write_run(tmp_path, state=made_up.status("interrupted")))
    assert "No answer and no drift is on record yet." in page.text


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json", "drift.jsonl", "answers.jsonl", "status.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    run = made_up_train.toy_run(tmp_path)
    (run / name).write_text("{broken\n", encoding="utf-8")
    page = written(run)
    assert re.search(rf"Attention: {re.escape(name)} is (missing or )?damaged\.", page.text)
    assert "metrics.json is damaged" not in page.text or name == "metrics.json"
    assert "Fine-tuned on qaa" in page.text


def test_a_run_that_is_done_without_metrics_says_so(tmp_path: Path) -> None:
    page = written(made_up_train.write_run(tmp_path))
    assert "This run is done, and there are no scores to show. Attention: metrics.json is missing." in page.text


def test_a_model_made_from_nothing_has_a_page_too(tmp_path: Path) -> None:
    settings = {"finetune": {"name": "toy_world", "circuit_stage": {"steps": 300}}, "seed": 0, "source": None}
    state = made_up.status(notes=["word: 0.98"])
    page = written(made_up_train.write_run(tmp_path, state=state, settings=settings))
    assert "A model from nothing, by the recipe toy_world" in page.text
    assert "Note: word: 0.98." in page.text
    assert "Attention" not in page.text


def test_a_large_run_stays_a_page_that_opens_at_once(tmp_path: Path) -> None:
    page = written(made_up_train.xnli_run(tmp_path))
    assert page.source.count('class="line chosen"') == 1
    assert page.source.count('class="line plain"') == 14 + 12
    assert len(page.table("drift by language and block, mean pooling")) == 1 + 15 + 1
    assert page.text.count("Shown: the block with the largest |Spearman| of 12") == 4
    assert "Drift and distance, mean pooling" in page.text
    for kind in ("genetic", "geographic", "syntactic"):
        assert page.table(f"Drift and distance, cls pooling, {kind}")[12][0] == "12"


def test_lines_have_gaps_where_values_are_missing() -> None:
    rows = [
        Line("a", "a", [(0, None), (1, 0.5), (2, None), (3, 0.1), (4, 0.2)]),
        Line("b", "b", [(block, None) for block in range(5)]),
    ]
    drawn = lines("t", Axes("block", "drift"), rows)
    (path,) = set(re.findall(r' d="([^"]*)"', drawn))
    assert path.count("M") == 2
    assert path.count("L") == 1
    assert drawn.count('class="line') == 1, "a row without values is no line"


def test_many_lines_keep_the_names_of_sources_and_ends() -> None:
    rows = [Line(f"l{place}", f"l{place}", [(0, 0.0), (1, place / 100)]) for place in range(60)]
    rows[30] = rows[30]._replace(kind="chosen")
    drawn = lines("t", Axes("block", "drift"), rows)
    names = re.findall(r"<text[^>]*>(l\d+)</text>", drawn)
    assert set(names) == {*(f"l{place}" for place in (0, 1, 2, 3, 4, 55, 56, 57, 58, 59)), "l30"}
    assert drawn.count("<title>") == 60


def test_axes_tell_small_values_apart() -> None:
    points = [Point("a", "a", 0.0001, 1.0), Point("b", "b", 0.0005, 1.0), Point("c", "c", 0.0002, -2.0)]
    drawn = scatter("t", Axes("x", "y"), points, "c")
    ticks = re.findall(r"<text[^>]*>([−.\d]+)</text>", drawn)
    assert {".0001", ".0005", "−2", "1"} <= set(ticks)
    assert len(ticks) == len(set(ticks))
    assert small_scatter("t", points[:1], "c").count("<circle") == 1


def test_names_of_lines_keep_their_order_and_distance() -> None:
    wanted = [50.0, 51.0, 52.0, 10.0, 100.0]
    found = spread(wanted, 13, 0, 110)
    assert found[3:] == [10.0, 100.0]
    assert [round(place, 6) for place in found[:3]] == [38.0, 51.0, 64.0]
    crowded = spread([5.0] * 20, 13, 0, 100)
    assert sorted(crowded) == crowded
    assert crowded[0] == pytest.approx(0)
    assert crowded[-1] == pytest.approx(100)
    assert spread([], 13, 0, 100) == []


def test_points_that_hide_each_other_stand_side_by_side() -> None:
    assert side_steps([(0.5, 100.0)] * 3) == [0, 9, -9]
    assert side_steps([(0.5, 100.0), (0.5, 120.0), (0.8, 100.0)]) == [0, 0, 0]


@pytest.mark.parametrize(
    "points",
    [
        [(0.91, 100.0 + 5 * place) for place in range(9)] + [(0.09, 30.0), (0.09, 40.0)],
        [(0.1 + 0.06 * place, 150.0 + 40 * (place % 3)) for place in range(14)],
        [(0.5 + 0.02 * place, 150.0 + 3 * place) for place in range(6)],
    ],
)
@pytest.mark.parametrize("width", [230.0, 320.0, 460.0])
def test_names_cover_neither_each_other_nor_points(points: list[tuple[float, float]], width: float) -> None:
    names = [f"qa{chr(97 + place)}" for place in range(len(points))]
    shifts = side_steps(points)
    places = name_places(points, shifts, names, 280, 10)
    boxes = []
    for (x, y), shift, name, place in zip(points, shifts, names, places, strict=True):
        assert isinstance(place, Place), f"{name} has no place"
        size = text_width(name)
        left = x * width + shift + place.dx - {"start": 0, "middle": size / 2, "end": size}[place.anchor]
        boxes.append((left, y + place.dy - 9, left + size, y + place.dy + 3))
    for number, box in enumerate(boxes):
        assert box[0] >= -10
        assert box[2] <= width + 10
        for other in boxes[:number]:
            assert box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]
        for point, shift in zip(points, shifts, strict=True):
            x = point[0] * width + shift
            assert not (box[0] < x < box[2] and box[1] < point[1] < box[3])
