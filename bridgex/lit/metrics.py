"""Scores over all answers of a route, by torchmetrics and sacreBLEU."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Literal

import torch
from sacrebleu.metrics.chrf import CHRF
from torchmetrics.functional.classification import binary_calibration_error
from torchmetrics.functional.text import sacre_bleu_score

from bridgex.languages import Language
from bridgex.records.schema import Calibration, CorpusScores, Metrics, Prediction

_NUM_BINS = 10
# Scripts that put no space between words: BLEU counts characters there, which any model's output can be cut into.
_UNSPACED = frozenset({"Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})


def with_route_metrics(metrics: Metrics, predictions: Sequence[Prediction], target: Language) -> Metrics:
    """The metrics of a run with what must be computed over all answers of a route.

    Args:
        metrics: of the run.
        predictions: all of them.
        target: language of the answers.
    """
    by_route: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_route.setdefault(prediction.route, []).append(prediction)
    routes = {
        route: score.model_copy(
            update={"calibration": calibration(by_route[route]), "corpus": corpus_scores(by_route[route], target)}
        )
        for route, score in metrics.routes.items()
    }
    return metrics.model_copy(update={"routes": routes})


def calibration(predictions: Sequence[Prediction]) -> Calibration | None:
    """Whether the options taken are right as often as the model holds them likely.

    An option's probability is its share among the item's options, `p_i = exp(logprob_i) / sum_j exp(logprob_j)`;
    the error is `sum over bins of n_bin / n * |accuracy_bin - mean probability_bin|`, ten bins of equal width (Guo et
    al. 2017).

    Args:
        predictions: of one route; those without options are left out.

    Returns:
        None: no prediction has options.
    """
    scored = [prediction for prediction in predictions if prediction.options]
    if not scored:
        return None
    taken, right = [], []
    for prediction in scored:
        worth = [option.worth for option in prediction.options]
        shares = torch.tensor([option.logprob for option in prediction.options], dtype=torch.float64).softmax(dim=0)
        taken.append(float(shares[worth.index(max(worth))]))
        right.append(int(prediction.correct))
    likely = torch.tensor(taken, dtype=torch.float64)
    error = binary_calibration_error(likely, torch.tensor(right), n_bins=_NUM_BINS, norm="l1")
    return Calibration(error=float(error), probability=float(likely.mean()), n_bins=_NUM_BINS)


def corpus_scores(predictions: Sequence[Prediction], target: Language) -> CorpusScores | None:
    """chrF2 and BLEU of all sentences at once, as sacreBLEU computes and signs them.

    Args:
        predictions: of one route; an answer that could not be read counts as an empty sentence.
        target: decides how BLEU cuts sentences: 13a, characters where words have no spaces between them.

    Returns:
        None: these are no sentences.
    """
    if not any(prediction.score is not None for prediction in predictions):
        return None
    said = [prediction.answer or "" for prediction in predictions]
    right = [list(prediction.gold) for prediction in predictions]
    tokenize: Literal["char", "13a"] = "char" if target.script in _UNSPACED else "13a"
    chrf = CHRF()
    return CorpusScores(
        chrf=chrf.corpus_score(said, [[gold[0] for gold in right]]).score / 100,
        chrf_signature=str(chrf.get_signature()),
        bleu=float(sacre_bleu_score(said, right, tokenize=tokenize)),
        bleu_signature=f"nrefs:1|case:mixed|eff:no|tok:{tokenize}|smooth:none|"
        f"version:torchmetrics-{metadata.version('torchmetrics')}",
    )
