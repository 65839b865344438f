"""Source x target matrices against each other: MRQAP, with the Mantel test as its case of one predictor."""

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from bridgex.stats.paired import Floats, holm
from bridgex.stats.relate import Permutations, joint_permutations, with_exact_ties

Matrix: TypeAlias = ArrayLike
Cells: TypeAlias = NDArray[np.bool_]

MIN_LANGUAGES = 6
# Shares of a sum of squares: what is below is rounding, or so close to it that coefficients mean nothing.
_COLLINEAR = 1e-10
_PERFECT = 1e-12
_TOLERANCE = 1e-9
_MAX_CELLS_AT_ONCE = 2**21


class MatrixRelation(NamedTuple):
    """How one predictor goes with the outcome over pairs of languages, beside the other predictors.

    Attributes:
        coefficient: standardised, of the regression on all predictors.
        t: of the coefficient; None where the predictors leave nothing of the outcome over. Only p judges it, since
            cells that share a language are not independent.
        correlation: Spearman (Pearson without ranks) over the cells, the other predictors left aside.
        p: two-sided, by permutation of languages.
        p_holm: p corrected over the predictors by Holm.
        num_languages: languages in at least one cell.
        num_cells: cells with a value in every matrix.
    """

    coefficient: float
    t: float | None
    correlation: float
    p: float
    p_holm: float
    num_languages: int
    num_cells: int


def mrqap(
    outcome: Matrix,
    predictors: Mapping[str, Matrix],
    *,
    num_permutations: int = 9999,
    seed: int = 0,
    use_ranks: bool = True,
) -> dict[str, MatrixRelation | None]:
    """Regress a source x target matrix on others, judged by permutation of languages (double semi-partialing).

    For predictor X among the others Z (with an intercept): `E = X - Z g` by least squares over the cells; for each
    order of the languages, `y = b P(E) + Z d + residual`, P moving rows and columns of E together; p is the share of
    orders with `|t(b)| >= |t_0|`, t_0 of the observed order, which is X's own t in `y ~ X + Z` (Dekker, Krackhardt &
    Snijders 2007). With one predictor this is Mantel's test (1967). Each regression is a semi-partial one: `b =
    e.y / e.e`, `t = r sqrt(df / (1 - r^2))`, e and y without their part in Z, r their correlation, `df = cells -
    columns of Z - 1` (Frisch & Waugh). All orders are taken if there are at most `num_permutations + 1`, else the
    observed one and `num_permutations` random ones.

    Missing: E is taken over the cells that have all predictors; a regression over those that have the outcome, Z and,
    after the move, E. A language in no cell with all values is left out first.

    Args:
        outcome: `[languages, languages]`, row source, column target; NaN where missing, the diagonal is not read.
        predictors: matrices of the same languages in the same order, by name.
        num_permutations: random orders where not all are taken.
        seed: of the orders.
        use_ranks: put mid-ranks over the cells that a matrix has in place of its values.

    Returns:
        A relation for each predictor; None, and not counted by Holm, where the predictor is constant or collinear with
        the others (with it `1 - R^2` is at most 1e-10), or where the others leave nothing of the outcome over.

    Raises:
        ValueError: on no predictors, shapes that do not fit, infinity, fewer than 6 languages, fewer cells than the
            regression needs, or no permutations.
    """
    if not predictors:
        raise ValueError("mrqap got 0 predictors, it needs at least one")
    shape = np.shape(outcome)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"outcome must be [languages, languages], got shape {shape}")
    named = {"outcome": _matrix(outcome, "outcome", shape)}
    named |= {f"predictor {name!r}": _matrix(m, f"predictor {name!r}", shape) for name, m in predictors.items()}
    matrices = np.stack(list(named.values()))
    complete: Cells = np.logical_and.reduce(np.isfinite(matrices))
    languages = np.flatnonzero(complete.any(axis=0) | complete.any(axis=1))
    if len(languages) < MIN_LANGUAGES:
        raise ValueError(
            f"{len(languages)} of {shape[0]} languages have a cell with all values, MRQAP needs {MIN_LANGUAGES} or more"
        )
    num_cells, num_needed = int(complete.sum()), len(predictors) + 2
    if num_cells < num_needed:
        raise ValueError(
            f"{num_cells} cells have all values, {len(predictors)} predictors need at least {num_needed} cells"
        )
    square = np.ix_(languages, languages)
    complete, matrices = complete[square], matrices[:, languages][:, :, languages]
    scores = np.stack([_ranked(matrix) for matrix in matrices]) if use_ranks else matrices
    # Centred and scaled over the cells that count, so that one tolerance fits all units.
    scores = np.stack([_standardised(matrix, complete) for matrix in scores])
    orders = joint_permutations(len(languages), num_permutations, seed)

    tests = {name: _semi_partial_test(scores, index, orders) for index, name in enumerate(predictors, start=1)}
    corrected = dict(
        zip(
            [name for name, test in tests.items() if test],
            holm([test[2] for test in tests.values() if test]),
            strict=True,
        )
    )
    found: dict[str, MatrixRelation | None] = {}
    for index, (name, test) in enumerate(tests.items(), start=1):
        if test is None:
            found[name] = None
            continue
        coefficient, t, p = test
        cells = np.stack([matrices[0][complete], matrices[index][complete]])
        found[name] = MatrixRelation(
            coefficient=coefficient,
            t=t,
            correlation=float(np.corrcoef(stats.rankdata(cells, axis=1) if use_ranks else cells)[0, 1]),
            p=p,
            p_holm=corrected[name],
            num_languages=len(languages),
            num_cells=num_cells,
        )
    return found


def _matrix(matrix: Matrix, name: str, shape: tuple[int, ...]) -> Floats:
    """As floats without the diagonal."""
    values = np.array(matrix, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, the outcome has {shape}: all need the same languages")
    np.fill_diagonal(values, np.nan)
    if np.isinf(values).any():
        raise ValueError(f"{name} holds {values[np.isinf(values)][0]}, expected finite values, NaN where missing")
    return with_exact_ties(values)


def _ranked(matrix: Floats) -> Floats:
    ranks: Floats = stats.rankdata(matrix, nan_policy="omit").reshape(matrix.shape)
    return ranks


def _standardised(matrix: Floats, cells: Cells) -> Floats:
    """Mean 0 and standard deviation 1 over the cells; all 0 where they do not vary."""
    values = matrix[cells]
    if np.ptp(values) == 0:
        return np.where(np.isfinite(matrix), 0.0, np.nan)
    standardised: Floats = (matrix - values.mean()) / values.std()
    return standardised


def _basis(columns: Floats) -> Floats:
    """Orthonormal columns `[cells, rank]` that span a constant and the given `[cells, columns]`."""
    design = np.column_stack([np.ones(len(columns)), columns])
    left, sizes, _ = np.linalg.svd(design, full_matrices=False)
    return left[:, sizes > math.sqrt(_COLLINEAR) * sizes[0]]


def _semi_partial_test(scores: Floats, index: int, orders: Permutations) -> tuple[float, float | None, float] | None:
    """Coefficient, t and p of one predictor; scores are `[1 + predictors, languages, languages]`, the outcome first."""
    outcome, predictor = scores[0], scores[index]
    others = np.delete(scores, [0, index], axis=0)
    has_predictors = np.isfinite(scores[1:]).all(axis=0)
    values, basis = predictor[has_predictors], _basis(others[:, has_predictors].T)
    rest = values - basis @ (basis.T @ values)
    if np.square(rest).sum() <= _COLLINEAR * np.square(values).sum():
        return None
    residual = np.full(predictor.shape, np.nan)
    residual[has_predictors] = rest

    cells = np.isfinite(outcome) & np.isfinite(others).all(axis=0)
    rows, columns = np.nonzero(cells)
    basis = _basis(others[:, cells].T)
    at_once = max(1, _MAX_CELLS_AT_ONCE // len(rows))
    slopes, ts = [], []
    for start in range(0, len(orders), at_once):
        moved = orders[start : start + at_once]
        slope, t = _regressions(outcome[cells], basis, residual[moved[:, rows], moved[:, columns]])
        slopes.append(slope)
        ts.append(t)
    observed = float(ts[0][0])
    if math.isnan(observed):
        return None
    # An order without a t, as it leaves too few cells, is no evidence against the null.
    sizes = np.nan_to_num(np.abs(np.concatenate(ts)), posinf=np.inf)
    p = float(np.mean(sizes >= abs(observed) * (1 - _TOLERANCE)))
    return float(slopes[0][0]), None if math.isinf(observed) else observed, p


def _regressions(outcome: Floats, basis: Floats, moved: Floats) -> tuple[Floats, Floats]:
    """Regress the outcome `[cells]` on each row of `moved` `[orders, cells]`, NaN where missing, beside the basis.

    Returns:
        Slope and t `[orders]`; NaN where too few cells are left or a side lies in the span of the basis, t infinite
        where the fit is perfect.
    """
    has = np.isfinite(moved)
    e, weight = np.where(has, moved, 0.0), has.astype(np.float64)
    width = basis.shape[1]
    gram = weight @ (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), width**2)
    inverse = np.linalg.pinv(gram.reshape(-1, width, width), rcond=_COLLINEAR, hermitian=True)
    e_on_basis, y_on_basis = e @ basis, weight @ (basis * outcome[:, None])
    explained = np.einsum("bij,bj->bi", inverse, e_on_basis)
    e_whole, y_whole = np.square(e).sum(axis=1), weight @ np.square(outcome)
    e_rest = e_whole - (explained * e_on_basis).sum(axis=1)
    y_rest = y_whole - np.einsum("bi,bij,bj->b", y_on_basis, inverse, y_on_basis)
    shared = e @ outcome - (explained * y_on_basis).sum(axis=1)
    df = weight.sum(axis=1) - width - 1
    is_defined = (df >= 1) & (e_rest > _COLLINEAR * e_whole) & (y_rest > _COLLINEAR * y_whole)
    nothing = np.full(len(moved), np.nan)
    slope = np.divide(shared, e_rest, out=nothing.copy(), where=is_defined)
    r_squared = np.divide(np.square(shared), e_rest * y_rest, out=nothing.copy(), where=is_defined)
    left_over = np.where(r_squared >= 1 - _PERFECT, 0.0, 1 - r_squared)
    size = np.sqrt(np.divide(r_squared * df, left_over, out=np.full(len(moved), np.inf), where=left_over != 0))
    return slope, np.where(is_defined, np.copysign(size, shared), np.nan)
