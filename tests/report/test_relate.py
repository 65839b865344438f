from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bridgex.errors import UserError
from bridgex.records.files import write_text
from bridgex.records.relations import RELATIONS_FILE, FreezeComparison, RunGroup, read_relations
from bridgex.records.train_files import read_train_metrics
from bridgex.report import freezing, relate, relate_matrices
from bridgex.report.relate_runs import FinishedRun
from tests.report import made_up, made_up_train
from tests.report import made_up_relate as made

Floats = NDArray[np.float64]


def only_group(*paths: Path) -> RunGroup:
    (group,) = relate.relate(paths).groups
    return group


def plain_holm(p_values: Sequence[float]) -> list[float]:
    """The textbook's steps, one at a time."""
    found, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        found[place] = largest
    return found


class TestGathering:
    def test_what_is_not_finished_or_whole_is_named_and_left_out(self, tmp_path: Path) -> None:
        made.run(tmp_path)
        running = made.run(tmp_path, seed=1)
        write_text(running / "status.json", made_up.status("interrupted").model_dump_json())
        failed = made.run(tmp_path, seed=2)
        write_text(failed / "status.json", made_up.status("failed", error="no data").model_dump_json())
        for seed, name in enumerate(("metrics.json", "status.json", "config.yaml"), start=3):
            write_text(made.run(tmp_path, seed=seed) / name, "{")
        (made.run(tmp_path, seed=6) / "metrics.json").unlink()
        recipe = {"finetune": {"name": "toy_world", "circuit_stage": {}}, "seed": 0}
        made_up_train.write_run(tmp_path / "recipe", settings=recipe)
        found = relate.relate([tmp_path])
        assert [len(group.runs) for group in found.groups] == [1]
        reasons = {Path(one.run).name.removeprefix("mbert_en_xnli_none_"): one.reason for one in found.left_out}
        assert reasons == {
            "recipe": "makes a model from nothing, and measures no transfer",
            "s1": "not finished (interrupted)",
            "s2": "failed: no data",
            "s3": "metrics.json is damaged",
            "s4": "status.json is missing or damaged",
            "s5": "config.yaml is missing or damaged",
            "s6": "metrics.json is missing",
        }

    def test_runs_of_evaluate_and_folders_without_runs_are_refused_all_at_once(self, tmp_path: Path) -> None:
        made_up.compare_run(tmp_path / "evaluated")
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError) as caught:
            relate.relate([tmp_path / "evaluated", tmp_path / "empty", tmp_path / "nowhere"])
        nowhere, empty, evaluated = sorted(caught.value.problems, key=lambda line: "nowhere" not in line)
        assert "nowhere: no such folder" in nowhere
        assert any("holds no run (status.json) and no sweep" in line for line in (empty, evaluated))
        assert any("is a run of evaluate.py, which fine-tunes nothing" in line for line in (empty, evaluated))

    def test_runs_are_grouped_by_model_task_pooling_and_recipe(self, tmp_path: Path) -> None:
        made.run(tmp_path / "a", seed=0)
        made.run(tmp_path / "a", seed=1)
        made.run(tmp_path / "b", pooling="mean")
        steeper = made.config("en", 0, "none", finetune={"name": "default", "learning_rate": 1e-3})
        made.run(tmp_path / "c", settings=steeper)
        found = relate.relate([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
        assert [len(group.runs) for group in found.groups] == [2, 1, 1]
        headings = [group.heading for group in found.groups]
        assert headings[1] == "xnli, mbert, mean pooling"
        assert "finetune.learning_rate=2e-05" in headings[0]
        assert "finetune.learning_rate=0.001" in headings[2]

    def test_a_run_given_twice_counts_once(self, tmp_path: Path) -> None:
        run = made.run(tmp_path / "a")
        made.run(tmp_path / "b")
        found = relate.relate([tmp_path / "a", run, tmp_path / "b"])
        assert [len(group.runs) for group in found.groups] == [1]
        (one,) = found.left_out
        assert one.run == str(tmp_path / "b" / run.name)
        assert one.reason == f"the same source, seed, freezing and settings as {run}"

    def test_nothing_finished_is_refused_with_the_reasons(self, tmp_path: Path) -> None:
        write_text(made.run(tmp_path) / "metrics.json", "{")
        with pytest.raises(UserError, match=r"metrics\.json is damaged"):
            relate.write_relations(tmp_path / "out", relate.relate([tmp_path]))
        assert not (tmp_path / "out").exists()

    def test_the_record_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        made.run(tmp_path)
        found = relate.relate([tmp_path])
        assert relate.write_relations(tmp_path / "new" / "out", found) == tmp_path / "new" / "out" / "relations.html"
        assert read_relations(tmp_path / "new" / "out") == found
        write_text(tmp_path / "new" / "out" / RELATIONS_FILE, "{")
        with pytest.raises(UserError, match=r"relations\.json: damaged"):
            read_relations(tmp_path / "new" / "out")
        with pytest.raises(UserError, match=r"relations\.json: not there"):
            read_relations(tmp_path)


class TestSeeds:
    def test_seeds_are_averaged_and_their_spread_is_kept(self, tmp_path: Path) -> None:
        runs = [read_train_metrics(made.run(tmp_path, seed=seed)) for seed in (0, 1, 4)]
        (average,) = only_group(tmp_path).averages
        assert average.seeds == [0, 1, 4]
        for code in made.CODES:
            scores = [run.transfer[code].score for run in runs]
            found = average.transfer[code]
            assert found.mean == pytest.approx(sum(scores) / 3)
            assert found.sd == pytest.approx(statistics.stdev(scores))
            assert (found.min, found.max) == (min(scores), max(scores))
        curve = []
        for block in range(made.NUM_BLOCKS + 1):
            means = [sum(run.drift[code][block] for code in made.CODES) / len(made.CODES) for run in runs]
            assert average.drift[block].mean == pytest.approx(sum(means) / 3)
            assert average.drift[block].sd == pytest.approx(statistics.stdev(means))
            curve.append(sum(means))
        assert average.depth == pytest.approx(stats.spearmanr(range(1, 5), curve[1:]).statistic)

    def test_one_seed_has_no_spread(self, tmp_path: Path) -> None:
        made.run(tmp_path)
        (average,) = only_group(tmp_path).averages
        assert {found.sd for found in average.transfer.values()} == {None}

    def test_languages_and_blocks_that_a_seed_lacks_are_left_out(self, tmp_path: Path) -> None:
        drift = {code: {0: 0.1, 1: 0.2} for code in made.CODES}
        made.run(tmp_path, seed=0, drift=lambda code, block: block / 10)
        made_up_train.write_run(
            tmp_path / "other",
            made.metrics(seed=1, codes=made.CODES[:5]).model_copy(update={"drift": drift}),
            settings=made.config("en", 1, "none"),
        )
        (average,) = only_group(tmp_path).averages
        assert list(average.transfer) == list(made.CODES[:5])
        assert list(average.drift) == [0, 1]


class TestFewSources:
    def test_a_source_is_related_on_the_means_of_its_seeds(self, tmp_path: Path) -> None:
        runs = [read_train_metrics(made.run(tmp_path, seed=seed)) for seed in (0, 1)]
        (source,) = only_group(tmp_path).sources
        targets = sorted(made.CODES[1:])

        def mean(of: Any) -> list[float]:
            return [sum(of(run, code) for run in runs) / 2 for code in targets]

        scores = mean(lambda run, code: run.transfer[code].score)
        by_name = {(row.relation, row.kind, row.block): row for row in source.relations}
        assert len(by_name) == len(source.relations) == 2 * 5 + 5 + 2
        for kind in ("genetic", "syntactic"):
            far = mean(lambda run, code, kind=kind: run.distances[kind][code])
            row = by_name["distance ~ transfer", kind, None]
            assert row.spearman == pytest.approx(stats.spearmanr(far, scores).statistic)
            assert row.pearson == pytest.approx(stats.pearsonr(far, scores).statistic)
            assert row.n == 7
            for block in range(5):
                moved = mean(lambda run, code, block=block: run.drift[code][block])
                row = by_name["drift ~ distance", kind, block]
                assert row.spearman == pytest.approx(stats.spearmanr(moved, far).statistic)
                row = by_name["drift ~ transfer", "transfer", block]
                assert row.spearman == pytest.approx(stats.spearmanr(moved, scores).statistic)
        family = [row for row in source.relations if row.relation == "drift ~ distance"]
        assert [row.p_holm for row in family] == pytest.approx(plain_holm([row.p for row in family]))
        assert all(row.p <= row.p_corrected for row in family)

    def test_several_sources_are_averaged_with_their_range(self, tmp_path: Path) -> None:
        for source, seed in itertools.product(("en", "de", "fr"), (0, 1)):
            made.run(tmp_path, source, seed)
        group = only_group(tmp_path)
        assert group.matrices is None
        assert [one.source for one in group.sources] == ["de", "en", "fr"]
        assert len(group.over_sources) == 17
        for row in group.over_sources:
            values = [
                one.spearman
                for source in group.sources
                for one in source.relations
                if (one.relation, one.kind, one.block) == (row.relation, row.kind, row.block)
            ]
            assert row.spearman == pytest.approx(sum(values) / 3)
            assert row.range == (min(values), max(values))
            assert row.n == 3

    def test_what_survives_is_said_first(self, tmp_path: Path) -> None:
        near = {code: place / 10 for place, code in enumerate(made.CODES)}
        made.run(
            tmp_path, score=lambda code: 0.9 - near[code], drift=lambda code, block: 0.5 if block < 4 else near[code],
            distances={"genetic": lambda code: near[code]},
        )  # fmt: skip
        group = only_group(tmp_path)
        assert group.survives == (
            "After correction drift ~ distance (genetic in block 4), drift ~ transfer (transfer in block 4), "
            "distance ~ transfer (genetic) hold."
        )
        made.run(tmp_path, "de", codes=("de", "en", "fr"))
        assert "not tested" in only_group(tmp_path / "mbert_de_xnli_none_s0").survives.lower()

    def test_all_measures_stand_against_each_other(self, tmp_path: Path) -> None:
        run = read_train_metrics(made.run(tmp_path))
        (table,) = only_group(tmp_path).measures
        assert table.measures == [
            "profile similarity", "HSIC", "alignment", "genetic distance", "syntactic distance", "drift", "transfer",
            "fertility",
        ]  # fmt: skip
        assert len(table.pairs) == 28
        targets = made.CODES[1:]
        drift = [sum(run.drift[code][block] for block in (1, 2, 3, 4)) / 4 for code in targets]
        middle = [(run.controls.alignment[code][2] + run.controls.alignment[code][3]) / 2 for code in targets]
        own = [run.controls.profile_similarity[code] for code in targets]
        by_pair = {(one.first, one.second): one for one in table.pairs}
        assert by_pair["alignment", "drift"].correlation == pytest.approx(stats.spearmanr(middle, drift).statistic)
        assert by_pair["profile similarity", "drift"].correlation == pytest.approx(
            stats.spearmanr(own, drift).statistic
        )
        assert all(one.p <= one.p_corrected and one.n == 7 for one in table.pairs)


def ranks_off_diagonal(matrix: Floats) -> Floats:
    return np.asarray(stats.rankdata(matrix[~np.eye(len(matrix), dtype=bool)]), dtype=np.float64)


def standardised_slopes(outcome: Floats, predictors: Sequence[Floats]) -> Floats:
    """Ordinary least squares on standardised ranks of the cells."""
    y, *columns = (stats.zscore(ranks_off_diagonal(matrix)) for matrix in (outcome, *predictors))
    return np.asarray(np.linalg.lstsq(np.column_stack(columns), y, rcond=None)[0], dtype=np.float64)


class TestManySources:
    @pytest.fixture
    def sweep(self, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
        """Eight sources, two seeds; deep drift follows genetic distance, transfer follows nothing."""
        codes = sorted(made.CODES)
        dice = np.random.default_rng(2)
        far = {kind: dice.uniform(size=(8, 8)) for kind in ("genetic", "syntactic")}
        runs = {}
        for (row, source), seed in itertools.product(enumerate(codes), (0, 1)):
            kinds = {
                kind: lambda code, values=values, row=row: float(values[row, codes.index(code)])
                for kind, values in far.items()
            }
            noise = 0.05 * dice.normal(size=8)
            runs[source, seed] = read_train_metrics(
                made.run(
                    tmp_path, source, seed, distances=kinds,
                    drift=lambda code, block, row=row, noise=noise: (
                        0.1 + (far["genetic"][row, codes.index(code)] + noise[codes.index(code)]) * block
                    ),
                )
            )  # fmt: skip
        return tmp_path, {"codes": codes, "runs": runs, "far": far}

    def test_matrices_have_sources_down_and_targets_across(self, sweep: tuple[Path, dict[str, Any]]) -> None:
        folder, world = sweep
        codes, runs, far = world["codes"], world["runs"], world["far"]
        group = only_group(folder)
        assert group.sources == []
        assert group.matrices is not None
        assert group.matrices.languages == codes
        assert group.matrices.untested == [
            "drift ~ distance + fertility, block 0: the outcome does not vary",
            "drift ~ transfer + fertility, block 0: the outcome does not vary",
        ]

        def matrix(of: Any) -> Floats:
            return np.array(
                [[np.mean([of(runs[s, seed], t) if s != t else 0.0 for seed in (0, 1)]) for t in codes] for s in codes]
            )

        fertility = matrix(lambda run, code: run.controls.fertility[code])
        transfer = matrix(lambda run, code: run.transfer[code].score)
        tests = group.matrices.tests
        for block in (*range(1, 5), "mean"):
            blocks = range(1, 5) if block == "mean" else [block]
            moved = matrix(lambda run, code, b=blocks: np.mean([run.drift[code][one] for one in b]))
            for name, predictors in (
                ("drift ~ distance + fertility", {**far, "fertility": fertility}),
                ("drift ~ transfer + fertility", {"transfer": transfer, "fertility": fertility}),
            ):
                rows = {row.predictor: row for row in tests if row.relation == name and row.block == block}
                assert list(rows) == list(predictors)
                slopes = standardised_slopes(moved, list(predictors.values()))
                assert [row.coefficient for row in rows.values()] == pytest.approx(slopes, abs=1e-9)
                for key, row in rows.items():
                    pearson = stats.pearsonr(ranks_off_diagonal(moved), ranks_off_diagonal(predictors[key]))
                    assert row.spearman == pytest.approx(pearson.statistic)
                    assert (row.num_languages, row.num_cells) == (8, 56)
        for name in {row.relation for row in tests}:
            family = [row for row in tests if row.relation == name]
            assert [row.p_holm for row in family] == pytest.approx(plain_holm([row.p for row in family]))
        sizes = {name: sum(row.relation == name for row in tests) for name in {row.relation for row in tests}}
        assert sizes == {
            "drift ~ distance + fertility": 15,
            "drift ~ transfer + fertility": 10,
            "transfer ~ distance + fertility": 3,
            "transfer ~ alignment + distance": 3,
        }

    def test_what_is_planted_holds_and_what_is_not_does_not(self, sweep: tuple[Path, dict[str, Any]]) -> None:
        folder, _ = sweep
        group = only_group(folder)
        held = {one.name: one.held for one in group.findings}
        assert held["drift ~ distance + fertility"] == ["genetic in blocks 1 2 3 4 and the mean over blocks"]
        assert not any(held[name] for name in held if name != "drift ~ distance + fertility")
        assert group.survives.startswith(
            "After correction drift ~ distance + fertility (genetic in blocks 1 2 3 4 and the mean over blocks) holds; "
        )

    def test_the_published_way_stands_beside_it(self, sweep: tuple[Path, dict[str, Any]]) -> None:
        folder, world = sweep
        matrices = only_group(folder).matrices
        assert matrices is not None
        codes, runs = world["codes"], world["runs"]
        pairs = [(s, t) for s in codes for t in codes if s != t]
        x = [np.mean([runs[s, seed].drift[t][2] for seed in (0, 1)]) for s, t in pairs]
        y = [np.mean([runs[s, seed].transfer[t].score for seed in (0, 1)]) for s, t in pairs]
        (found,) = (one for one in matrices.naive if (one.relation, one.block) == ("drift ~ transfer", 2))
        pearson, spearman = stats.pearsonr(x, y), stats.spearmanr(x, y)
        assert (found.pearson, found.pearson_p) == pytest.approx((pearson.statistic, pearson.pvalue))
        assert (found.spearman, found.spearman_p) == pytest.approx((spearman.statistic, spearman.pvalue))
        assert found.n == 56

    def test_measures_are_compared_as_matrices(self, sweep: tuple[Path, dict[str, Any]]) -> None:
        folder, world = sweep
        (table,) = only_group(folder).measures
        assert table.source is None
        codes, runs, far = world["codes"], world["runs"], world["far"]
        pairs = [(s, t) for s in codes for t in codes if s != t]
        drift = [np.mean([runs[s, seed].drift[t][b] for seed in (0, 1) for b in (1, 2, 3, 4)]) for s, t in pairs]
        genetic = [far["genetic"][codes.index(s), codes.index(t)] for s, t in pairs]
        (found,) = (one for one in table.pairs if {one.first, one.second} == {"genetic distance", "drift"})
        assert found.correlation == pytest.approx(stats.spearmanr(drift, genetic).statistic)
        assert found.n == 56
        assert found.p_corrected < 0.05
        assert [one.p_corrected for one in table.pairs] == pytest.approx(plain_holm([one.p for one in table.pairs]))

    def test_where_six_languages_could_never_say_anything_it_is_said(self, tmp_path: Path) -> None:
        for source in made.CODES[:6]:
            made.run(tmp_path, source, codes=made.CODES[:6])
        group = only_group(tmp_path)
        assert group.matrices is not None
        count = sum(test.relation == "drift ~ distance + fertility" for test in group.matrices.tests)
        assert count == 18
        assert not any("nothing could survive" in note for note in group.notes), "18 / 720 is below .05"
        twice = group.matrices.model_copy(update={"tests": group.matrices.tests * 2})
        assert relate_matrices.hopeless(twice) == [
            "drift ~ distance + fertility: 6 languages have no p below 0.0014, which 36 tests bring to 0.05 by Holm, "
            "so that nothing could survive"
        ]

    def test_five_sources_are_too_few_for_matrices(self, tmp_path: Path) -> None:
        for source in made.CODES[:5]:
            made.run(tmp_path, source)
        assert only_group(tmp_path).matrices is None


RIGHT = {"en": 54, "de": 45, "fr": 40, "sw": 30, "zh": 24}
FAR = {"genetic": lambda code: {"de": 0.2, "fr": 0.4, "sw": 0.9, "zh": 1.0}.get(code, 0.5)}


def answers(dice: np.random.Generator, shift: Mapping[str, int] | None = None) -> dict[str, list[bool]]:
    return {
        code: [bool(x) for x in dice.permutation(60) < count + (shift or {}).get(code, 0) + int(dice.integers(-1, 2))]
        for code, count in RIGHT.items()
    }


def frozen_sweep(folder: Path, shift: Mapping[str, int], seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> FreezeComparison:
    dice = np.random.default_rng(1)
    for seed in seeds:
        made.answered(folder, answers(dice), "en", seed, distances=FAR)
        made.answered(folder, answers(dice, shift), "en", seed, "bottom", distances=FAR)
    (found,) = only_group(folder).freezing
    return found


class TestFreezing:
    def test_differences_are_paired_by_seed(self, tmp_path: Path) -> None:
        found = frozen_sweep(tmp_path, {"sw": 12, "zh": 12})
        assert (found.freeze, found.against) == ("embeddings, blocks 1 2", "none")
        assert found.far == {"en": ["sw", "zh"]}
        assert found.kind == "genetic"
        scores = {
            (freeze, seed): {
                code: one.score
                for code, one in read_train_metrics(tmp_path / f"mbert_en_xnli_{freeze}_s{seed}").transfer.items()
            }
            for freeze in ("none", "bottom")
            for seed in range(5)
        }

        def outcome(run: Mapping[str, float], name: str) -> float:
            target = sum(run[code] for code in ("de", "fr", "sw", "zh")) / 4
            return {
                "source score": run["en"],
                "mean target score": target,
                "mean transfer gap": run["en"] - target,
                "far target score": (run["sw"] + run["zh"]) / 2,
            }[name]

        references = []
        for one in found.outcomes:
            frozen, plain = (
                [outcome(scores[freeze, seed], one.outcome) for seed in range(5)] for freeze in ("bottom", "none")
            )
            test = stats.ttest_rel(frozen, plain)
            assert one.difference == pytest.approx(np.mean(np.subtract(frozen, plain)))
            assert [one.by_seed[seed] for seed in range(5)] == pytest.approx(np.subtract(frozen, plain))
            assert one.p == pytest.approx(test.pvalue)
            assert one.ci95 == pytest.approx(tuple(test.confidence_interval()))
            assert one.bootstrap95 is not None
            assert one.bootstrap95[0] < one.difference < one.bootstrap95[1]
            references.append(float(test.pvalue))
        assert [one.p_holm for one in found.outcomes] == pytest.approx(plain_holm(references))
        verdicts = {one.outcome: one.verdict for one in found.outcomes}
        assert verdicts == {
            "source score": "no evidence",
            "mean target score": "better",
            "mean transfer gap": "better",
            "far target score": "better",
        }
        assert found.sentence.startswith(
            "freezing embeddings, blocks 1 2 (5 seeds, source en): helps the mean target score"
        )
        assert found.sentence.endswith("; no evidence on the source score")
        assert found.notes == []

    def test_the_bootstrap_draws_seeds_and_whole_groups_of_the_answers(self, tmp_path: Path) -> None:
        found = frozen_sweep(tmp_path, {"sw": 12, "zh": 12}, seeds=(0, 1, 2))
        rows = {}
        for freeze, seed in itertools.product(("none", "bottom"), range(3)):
            path = tmp_path / f"mbert_en_xnli_{freeze}_s{seed}" / "answers.jsonl"
            for line in path.read_text().splitlines():
                row = made_up_train.LabelRecord.model_validate_json(line)
                rows[freeze, seed, row.language, row.id] = (row.answer == row.gold, row.group)
        dice, means = np.random.default_rng(9), []
        differences = {
            (seed, item): (np.mean([rows["bottom", seed, code, f"i{item}"][0] for code in ("sw", "zh")]))
            - np.mean([rows["none", seed, code, f"i{item}"][0] for code in ("sw", "zh")])
            for seed in range(3)
            for item in range(60)
        }
        for _ in range(3000):
            seeds, groups = dice.integers(3, size=3), dice.integers(20, size=20)
            means.append(np.mean([differences[k, 3 * g + item] for k in seeds for g in groups for item in range(3)]))
        (far,) = (one for one in found.outcomes if one.outcome == "far target score")
        assert far.bootstrap95 == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)

    def test_a_gap_that_shrinks_as_the_source_falls_is_no_help_to_targets(self, tmp_path: Path) -> None:
        found = frozen_sweep(tmp_path, {"en": -20})
        verdicts = {one.outcome: one.verdict for one in found.outcomes}
        assert verdicts["source score"] == "worse"
        assert verdicts["mean transfer gap"] == "better"
        assert verdicts["mean target score"] == "no evidence"
        assert found.notes == ["the gap is smaller because the source scores less, not because the targets score more"]
        assert "hurts the source score (-0.3" in found.sentence

    def test_two_seeds_are_not_tested(self, tmp_path: Path) -> None:
        found = frozen_sweep(tmp_path, {"sw": 12}, seeds=(0, 1))
        assert found.outcomes == []
        assert found.sentence == "freezing embeddings, blocks 1 2: not tested: 2 seeds"
        assert only_group(tmp_path).survives.endswith("not tested: freezing embeddings, blocks 1 2.")

    def test_seeds_that_one_side_lacks_and_sources_with_too_few_are_left_out(self, tmp_path: Path) -> None:
        for source, seeds in (("en", (0, 1, 2, 3)), ("de", (0, 1, 2)), ("fr", (0, 1))):
            for seed in seeds:
                made.run(tmp_path, source, seed)
                made.run(tmp_path, source, seed, "bottom")
        made.run(tmp_path, "fr", 2)
        (found,) = only_group(tmp_path).freezing
        assert (found.sources, found.seeds) == (["de", "en"], [0, 1, 2])
        assert found.notes[0] == "left out, with too few seeds in common: fr"

    def test_several_sources_are_averaged_within_a_seed(self, tmp_path: Path) -> None:
        for source, seed, freeze in itertools.product(("en", "de"), range(3), ("none", "bottom")):
            made.run(tmp_path, source, seed, freeze)
        (found,) = only_group(tmp_path).freezing
        assert found.notes == ["no bootstrap: answers.jsonl of these runs do not hold the same items"]
        source_score = found.outcomes[0]
        for seed in range(3):
            differences = [
                made.metrics(source, seed, "bottom").transfer[source].score
                - made.metrics(source, seed, "none").transfer[source].score
                for source in ("en", "de")
            ]
            assert source_score.by_seed[seed] == pytest.approx(sum(differences) / 2)
        assert source_score.bootstrap95 is None

    def test_languages_that_chose_the_blocks_are_compared_nowhere(self, tmp_path: Path) -> None:
        for seed in range(3):
            made.run(tmp_path, seed=seed, freeze="random")
            made.run(tmp_path, seed=seed)
            made.run(tmp_path, seed=seed, freeze="by_correlation", unreported=["de", "sw"])
        found = {(one.freeze, one.against): one for one in only_group(tmp_path).freezing}
        chosen, random = "2 blocks by genetic correlation", "2 blocks at random"
        assert list(found) == [(random, "none"), (chosen, "none"), (chosen, random)]
        rest = sorted(set(made.CODES) - {"en", "de", "sw"})
        assert found[chosen, "none"].languages == found[chosen, random].languages == rest
        assert found[random, "none"].languages == sorted(set(made.CODES) - {"en"})
        assert "left out, because blocks were chosen by them: de, sw" in found[chosen, "none"].notes
        by_seed = found[chosen, random].outcomes[1].by_seed
        for seed in range(3):
            scores = [made.metrics("en", seed, freeze).transfer for freeze in ("by_correlation", "random")]
            mean = [sum(one[code].score for code in rest) / len(rest) for one in scores]
            assert by_seed[seed] == pytest.approx(mean[0] - mean[1])

    def test_other_numbers_of_blocks_are_no_control(self, tmp_path: Path) -> None:
        made.run(tmp_path, freeze="by_correlation")
        three = {**made.config("en", 0, "random"), "freeze": {"name": "random", "num_layers": 3}}
        made.run(tmp_path, freeze="random", settings=three)
        group = only_group(tmp_path)
        assert group.freezing == []
        assert group.freeze == "2 blocks by genetic correlation"
        assert any("there is no run without freezing" in note for note in group.notes)

    def test_damaged_answers_leave_the_t_test(self, tmp_path: Path) -> None:
        frozen_sweep(tmp_path, {}, seeds=(0, 1, 2))
        write_text(tmp_path / "mbert_en_xnli_none_s0" / "answers.jsonl", "{\n")
        (found,) = only_group(tmp_path).freezing
        assert {one.bootstrap95 for one in found.outcomes} == {None}
        assert all(one.p is not None for one in found.outcomes)

    def test_freezing_that_does_nothing_is_called_an_effect_in_one_of_twenty(self, monkeypatch: Any) -> None:
        """Seeds that differ: the verdict holds its level where a bootstrap over items alone is far above it."""
        dice = np.random.default_rng(5)
        current: dict[str, dict[str, Floats]] = {}
        groups = [f"g{item // 3}" for item in range(60)]

        def items(runs: Sequence[FinishedRun]) -> Any:
            return freezing._Items({run.name: current[run.name] for run in runs}, groups)

        monkeypatch.setattr(freezing, "_items", items)
        template = made.metrics("en", codes=("en", "de", "fr", "sw", "zh"), distances=FAR)
        rejected = any_verdict = 0
        count = 400
        for _ in range(count):
            sides: dict[str, dict[tuple[str, int], FinishedRun]] = {"bottom": {}, "none": {}}
            for freeze, seed in itertools.product(sides, range(5)):
                name = f"{freeze}{seed}"
                level = np.clip(0.7 + dice.normal(scale=0.1), 0, 1)
                current[name] = {code: (dice.random(60) < level).astype(np.float64) for code in template.transfer}
                scores = {
                    code: one.model_copy(update={"score": float(current[name][code].mean())})
                    for code, one in template.transfer.items()
                }
                metrics = template.model_copy(update={"transfer": scores, "seed": seed})
                sides[freeze]["en", seed] = FinishedRun(Path(name), name, {}, metrics, freeze)
            found = freezing.compare("bottom", "none", sides["bottom"], sides["none"])
            by_name = {one.outcome: one for one in found.outcomes}
            p = by_name["mean target score"].p
            rejected += p is not None and p < 0.05
            any_verdict += any(one.verdict != "no evidence" for one in found.outcomes)
        assert 0.02 < rejected / count < 0.085
        assert any_verdict / count < 0.07
