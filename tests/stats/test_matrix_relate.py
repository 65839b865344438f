import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from bridgex.stats.matrix_relate import MatrixRelation, mrqap
from bridgex.stats.paired import holm

Floats = NDArray[np.float64]
GAP = math.nan


def matrix(seed: int, n: int = 6, effects: float = 1.0) -> Floats:
    """Cells of noise on row and column effects; the diagonal is nothing that anyone should read."""
    dice = np.random.default_rng(seed)
    cells = dice.normal(size=(n, n)) + effects * dice.normal(size=(n, 1)) + effects * dice.normal(size=(1, n))
    np.fill_diagonal(cells, np.inf)
    return cells


def world(seed: int, n: int = 6) -> tuple[Floats, dict[str, Floats]]:
    """Three predictors of which two are correlated, and an outcome of the first."""
    a, b, c = (matrix(3 * seed + k, n) for k in range(3))
    b = matrix(seed + 1000, n) + np.where(np.eye(n) == 1, 0, a)
    outcome = matrix(seed + 2000, n) + np.where(np.eye(n) == 1, 0, a)
    return outcome, {"genetic": a, "syntactic": b, "fertility": c}


def off_diagonal(cells: Floats) -> Floats:
    return np.where(np.eye(len(cells)) == 1, GAP, cells)


def ranked(cells: Floats) -> Floats:
    """Mid-ranks over the cells that a matrix has, one at a time."""
    plain = off_diagonal(cells)
    present = np.isfinite(plain)
    found = np.full(plain.shape, GAP)
    found[present] = stats.rankdata(plain[present])
    return found


def textbook_t(outcome: Floats, columns: list[Floats]) -> tuple[float, float]:
    """Slope and t of the first column in a regression on all of them and a constant."""
    design = np.column_stack([*columns, np.ones(len(outcome))])
    slopes = np.linalg.lstsq(design, outcome, rcond=None)[0]
    rest = outcome - design @ slopes
    variance = rest @ rest / (len(outcome) - design.shape[1])
    return float(slopes[0]), float(slopes[0] / math.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0]))


def textbook_mrqap(outcome: Floats, predictors: list[Floats]) -> tuple[float, float, float]:
    """Standardised slope, t and p of the first predictor by all orders, one regression at a time; NaN is missing."""
    first, *others = predictors
    has_all = np.isfinite(np.stack(predictors)).all(axis=0)
    rest = np.full(first.shape, GAP)
    design = np.column_stack([*(other[has_all] for other in others), np.ones(has_all.sum())])
    rest[has_all] = first[has_all] - design @ np.linalg.lstsq(design, first[has_all], rcond=None)[0]
    sizes = []
    for order in itertools.permutations(range(len(first))):
        moved = rest[np.ix_(order, order)]
        cells = np.isfinite(np.stack([outcome, moved, *others])).all(axis=0)
        sizes.append(abs(textbook_t(outcome[cells], [moved[cells], *(other[cells] for other in others)])[1]))
    cells = np.isfinite(np.stack([outcome, *predictors])).all(axis=0)
    slope, t = textbook_t(outcome[cells], [predictor[cells] for predictor in predictors])
    assert abs(t) == pytest.approx(sizes[0], rel=1e-9), "the observed order is an ordinary regression"
    p = np.mean(np.array(sizes) >= abs(t) * (1 - 1e-9))
    return float(slope * first[cells].std() / outcome[cells].std()), t, float(p)


def check(outcome: Floats, predictors: dict[str, Floats], use_ranks: bool) -> dict[str, MatrixRelation]:
    """Every number against the slow forms."""
    found = mrqap(outcome, predictors, use_ranks=use_ranks)
    prepare = ranked if use_ranks else off_diagonal
    names, p_values = list(predictors), []
    for name, relation in found.items():
        assert relation is not None
        others = [prepare(predictors[other]) for other in names if other != name]
        coefficient, t, p = textbook_mrqap(prepare(outcome), [prepare(predictors[name]), *others])
        assert relation.coefficient == pytest.approx(coefficient, rel=1e-8)
        assert relation.t == pytest.approx(t, rel=1e-8)
        assert relation.p == pytest.approx(p, abs=1e-12)
        cells = np.isfinite(np.stack([off_diagonal(m) for m in (outcome, *predictors.values())])).all(axis=0)
        correlate = stats.spearmanr if use_ranks else stats.pearsonr
        expected = correlate(outcome[cells], predictors[name][cells]).statistic
        assert relation.correlation == pytest.approx(expected, abs=1e-12)
        assert relation.num_cells == cells.sum()
        p_values.append(p)
    assert [relation.p_holm for relation in found.values() if relation] == pytest.approx(holm(p_values))
    return {name: relation for name, relation in found.items() if relation}


@pytest.mark.parametrize("use_ranks", [True, False])
def test_all_orders_of_six_languages_equal_the_textbook(use_ranks: bool) -> None:
    outcome, predictors = world(0)
    found = check(outcome, predictors, use_ranks)
    assert {(relation.num_languages, relation.num_cells) for relation in found.values()} == {(6, 30)}


@pytest.mark.parametrize("use_ranks", [True, False])
def test_gaps_equal_the_textbook(use_ranks: bool) -> None:
    outcome, predictors = world(1)
    outcome[0, 3] = outcome[5, 2] = GAP
    check(outcome, dict(list(predictors.items())[:2]), use_ranks)
    predictors["syntactic"][2, 4] = GAP
    predictors["fertility"][1] = np.round(predictors["fertility"][1])
    found = check(outcome, predictors, use_ranks)
    assert {relation.num_cells for relation in found.values()} == {27}


@pytest.mark.parametrize("use_ranks", [True, False])
def test_one_predictor_is_the_mantel_test(use_ranks: bool) -> None:
    x, y = np.round(matrix(5), 1), matrix(6)
    cells = ~np.eye(6, dtype=bool)
    a, b = (ranked(x), ranked(y)) if use_ranks else (x, y)
    sizes = [
        abs(np.corrcoef(a[np.ix_(order, order)][cells], b[cells])[0, 1]) for order in itertools.permutations(range(6))
    ]
    found = mrqap(y, {"x": x}, use_ranks=use_ranks)["x"]
    assert found is not None
    assert found.p == pytest.approx(np.mean(np.array(sizes) >= sizes[0] - 1e-12), abs=1e-12)
    assert abs(found.correlation) == pytest.approx(sizes[0], abs=1e-12)
    assert found.coefficient == pytest.approx(found.correlation, abs=1e-9)
    assert found.t == pytest.approx(found.correlation * math.sqrt(28 / (1 - found.correlation**2)), rel=1e-9)
    assert found.p == found.p_holm


def test_random_orders_estimate_the_p_of_all_orders() -> None:
    outcome, predictors = world(2, n=8)
    exact, drawn = mrqap(outcome, predictors, num_permutations=40_319), mrqap(outcome, predictors)
    for name, whole in exact.items():
        part = drawn[name]
        assert whole is not None
        assert part is not None
        assert part[:3] == pytest.approx(whole[:3])
        assert abs(part.p - whole.p) < 4 * math.sqrt(whole.p * (1 - whole.p) / 9999) + 1e-4


def test_a_planted_predictor_is_found_beside_a_correlated_one() -> None:
    found = mrqap(*world(2, n=15), num_permutations=999)
    assert [relation.p < 0.01 for relation in found.values() if relation] == [True, False, False]
    assert found["syntactic"] is not None
    assert found["syntactic"].correlation > 0.2


@given(seed=st.integers(0, 200), scale=st.floats(1e-2, 1e2), offset=st.floats(-5, 5))
@settings(max_examples=15, deadline=None)
def test_order_of_languages_units_and_transposition(seed: int, scale: float, offset: float) -> None:
    outcome, predictors = world(seed)
    outcome[1, 4] = GAP
    order = np.ix_(*[np.random.default_rng(seed).permutation(6)] * 2)
    for use_ranks in (True, False):
        before = mrqap(outcome, predictors, use_ranks=use_ranks)
        for other in (
            mrqap(outcome[order], {name: x[order] for name, x in predictors.items()}, use_ranks=use_ranks),
            mrqap(outcome.T, {name: x.T for name, x in predictors.items()}, use_ranks=use_ranks),
            mrqap(scale * outcome, {k: scale * x + offset for k, x in predictors.items()}, use_ranks=use_ranks),
            mrqap(outcome, dict(reversed(predictors.items())), use_ranks=use_ranks),
        ):
            for name, old in before.items():
                assert old is not None
                assert other[name] == pytest.approx(tuple(old), rel=1e-6)


@given(seed=st.integers(0, 200))
@settings(max_examples=15, deadline=None)
def test_monotone_maps_and_signs(seed: int) -> None:
    outcome, predictors = world(seed)
    before = mrqap(outcome, predictors)
    assert mrqap(np.exp(outcome), {name: x**3 for name, x in predictors.items()}) == before
    flipped = mrqap(outcome, {name: -x if name == "genetic" else x for name, x in predictors.items()})
    for name, old in before.items():
        new, sign = flipped[name], -1 if name == "genetic" else 1
        assert old is not None
        assert new is not None
        assert old.t is not None
        assert new.p == old.p
        assert (new.coefficient, new.t, new.correlation) == pytest.approx(
            (sign * old.coefficient, sign * old.t, sign * old.correlation), rel=1e-9
        )


def test_languages_without_a_cell_leave() -> None:
    outcome, predictors = world(3, n=7)

    def extended(cells: Floats, value: float) -> Floats:
        return np.insert(np.insert(cells, 2, value, axis=0), 2, value, axis=1)

    longer = mrqap(extended(outcome, GAP), {name: extended(x, 3.0) for name, x in predictors.items()})
    assert longer == mrqap(outcome, predictors)


def test_constant_and_collinear_predictors_are_none() -> None:
    outcome, predictors = world(4)
    good = predictors["genetic"]
    found = mrqap(outcome, {"genetic": good, "constant": np.full((6, 6), 0.1), "almost": 0.3 + 1e-14 * good})
    assert [name for name, relation in found.items() if relation] == ["genetic"]
    assert found["genetic"] == mrqap(outcome, {"genetic": good})["genetic"]
    a, b, c = (np.where(np.eye(6) == 1, 0, x) for x in predictors.values())
    for use_ranks, copy in ((False, 3 * a - b), (True, np.exp(a))):
        found = mrqap(outcome, {"a": a, "b": b, "c": c, "copy": copy}, use_ranks=use_ranks)
        assert found["a"] is None
        assert found["copy"] is None
        # What spans the same says the same of the others, whom Holm counts alone.
        c_found, c_expected = found["c"], mrqap(outcome, {"a": a, "b": b, "c": c}, use_ranks=use_ranks)["c"]
        assert c_found is not None
        assert c_expected is not None
        assert c_found[:4] == pytest.approx(c_expected[:4], rel=1e-6)
        assert (found["b"] is None) == (not use_ranks)
        if not use_ranks:
            assert c_found.p_holm == c_found.p


def test_collinear_only_where_the_outcome_is() -> None:
    outcome, predictors = world(5, n=7)
    twin = predictors["genetic"].copy()
    twin[0, 1], outcome[0, 1] = 9.0, GAP
    assert mrqap(outcome, {"genetic": predictors["genetic"], "twin": twin}, use_ranks=False) == {
        "genetic": None,
        "twin": None,
    }


def test_perfect_fits() -> None:
    x, z = matrix(7), matrix(8)
    alone = mrqap(2 * x + 1, {"x": x})["x"]
    assert alone is not None
    assert (alone.t, alone.p) == (None, 1 / 720)
    assert alone.coefficient == pytest.approx(1.0)
    beside = mrqap(2 * x + 1, {"x": x, "z": z})
    assert beside["z"] is None, "x leaves nothing of the outcome over"
    assert beside["x"] is not None
    assert beside["x"].p == 1 / 720
    assert mrqap(np.full((6, 6), 0.2), {"x": x, "z": z}) == {"x": None, "z": None}


def test_same_seed_same_numbers() -> None:
    outcome, predictors = world(6, n=9)
    options = {"num_permutations": 199}
    assert mrqap(outcome, predictors, seed=1, **options) == mrqap(outcome, predictors, seed=1, **options)
    assert mrqap(outcome, predictors, seed=1, **options) != mrqap(outcome, predictors, seed=2, **options)


def test_under_the_null_mantel_keeps_its_level_where_cells_do_not() -> None:
    """400 runs, bounds of three standard errors; half of them lack sources, as where few models were trained."""
    runs, wrong, naive, cells = 400, 0, 0, ~np.eye(10, dtype=bool)
    for seed in range(runs):
        x, y = matrix(2 * seed, 10, effects=2), matrix(2 * seed + 1, 10, effects=2)
        naive += stats.pearsonr(x[cells], y[cells]).pvalue <= 0.05
        if seed % 2:
            y[:4] = GAP
        found = mrqap(y, {"x": x}, num_permutations=199, seed=seed + 20_000)["x"]
        assert found is not None
        wrong += found.p <= 0.05
    assert abs(wrong / runs - 0.05) < 3 * math.sqrt(0.05 * 0.95 / runs)
    assert naive / runs > 0.3


def test_under_the_null_a_predictor_beside_a_true_one_keeps_its_level() -> None:
    """The outcome hangs on z only, x is correlated with z; 400 runs, bounds of three standard errors."""
    runs, wrong, alone, naive, cells = 400, 0, 0, 0, ~np.eye(10, dtype=bool)
    for seed in range(runs):
        x, y, z = (np.where(cells, matrix(4 * seed + k, 10, effects=2), 0.0) for k in range(3))
        x, y = x + z, y + z
        found = mrqap(y, {"x": x, "z": z}, num_permutations=199, seed=seed + 20_000)["x"]
        lonely = mrqap(y, {"x": x}, num_permutations=199, seed=seed + 20_000)["x"]
        assert found is not None
        assert lonely is not None
        wrong += found.p <= 0.05
        alone += lonely.p <= 0.05
        t = textbook_t(y[cells], [x[cells], z[cells]])[1]
        naive += 2 * stats.t.sf(abs(t), 87) <= 0.05
    assert abs(wrong / runs - 0.05) < 3 * math.sqrt(0.05 * 0.95 / runs)
    assert alone / runs > 0.3, "which is why the others are taken out"
    assert naive / runs > 0.3, "which is why languages are permuted, not cells"


def test_misuse_is_refused() -> None:
    x, y = matrix(9), matrix(10)
    with pytest.raises(ValueError, match="mrqap got 0 predictors"):
        mrqap(y, {})
    with pytest.raises(ValueError, match=r"outcome must be \[languages, languages\], got shape \(5, 6\)"):
        mrqap(y[:5], {"x": x})
    with pytest.raises(ValueError, match=r"predictor 'x' has shape \(5, 5\), the outcome has \(6, 6\)"):
        mrqap(y, {"x": x[:5, :5]})
    with pytest.raises(ValueError, match="predictor 'x' holds -inf, expected finite values"):
        mrqap(y, {"x": np.where(np.eye(6, k=1) == 1, -np.inf, x)})
    with pytest.raises(ValueError, match="5 of 5 languages have a cell with all values, MRQAP needs 6 or more"):
        mrqap(y[:5, :5], {"x": x[:5, :5]})
    with pytest.raises(ValueError, match="4 of 6 languages have a cell"):
        mrqap(y, {"x": np.where(np.arange(6) < 2, GAP, np.where(np.arange(6)[:, None] < 2, GAP, x))})
    ring = np.where(np.eye(6, k=1) == 1, y, GAP)
    with pytest.raises(ValueError, match="5 cells have all values, 4 predictors need at least 6 cells"):
        mrqap(ring, {str(k): matrix(k) for k in range(4)})
    with pytest.raises(ValueError, match="num_permutations is 0"):
        mrqap(y, {"x": x}, num_permutations=0)
