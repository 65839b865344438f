"""Alignment: does the model know parallel sentences of two languages as the same?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bridgex.records.schema import StrategyRecord
from bridgex.select.evidence import Evidence, Floats, SentenceVectors
from bridgex.select.strategies.base import Strategy, ranking_of_means


class Alignment(Strategy):
    """Share of parallel sentences that find their own translation, as MEXA (Kargaran et al. 2024).

    A sentence of two languages is found where the cosine of its two vectors (hidden states, mean over its tokens) is
    greater than that of either with any other sentence: `c_ii > max over j != i of c_ij and c_ji`. Mean over the middle
    blocks of `probe.depth`, and over the legs source-candidate and candidate-target. MEXA itself asks this of each
    language with English, to foretell task scores, and offers mean and maximum over all blocks.
    """

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Mean of both legs, with intervals by a bootstrap over sentences.

        What is resampled is whether each sentence was found among all of them: the crowd that it was found in stays as
        it is.

        Raises:
            MissingEvidence: no sentences, or fewer than 20, are parallel in all languages.
        """
        source, target = (
            evidence.sentence_vectors(evidence.pair.source),
            evidence.sentence_vectors(evidence.pair.target),
        )
        found, legs, by_block = {}, {}, {}
        for code in evidence.candidates:
            own = evidence.sentence_vectors(code)
            hits = np.stack([_hits(source, own), _hits(own, target)])
            found[code] = hits.mean(axis=(0, 1))
            legs[code] = float(hits.mean(axis=(1, 2)).min())
            by_block[code] = dict(zip(own.blocks, hits.mean(axis=(0, 2)).tolist(), strict=True))
        ranking = ranking_of_means(found, self.hsic.bootstrap, evidence.seed)
        scores = {
            code: record.model_copy(update={"smaller_leg": legs[code], "block_scores": by_block[code]})
            for code, record in ranking.scores.items()
        }
        update = {"scores": scores, "blocks": list(source.blocks), "origin": source.origin}
        return ranking.model_copy(update=update)


def _hits(first: SentenceVectors, second: SentenceVectors) -> Floats:
    """Whether each sentence finds its translation in each block, `[blocks, sentences]`, 0 or 1."""
    found = []
    for a, b in zip(first.values, second.values, strict=True):
        cosine = _unit(a) @ _unit(b).T
        own = cosine.diagonal().copy()
        np.fill_diagonal(cosine, -np.inf)
        found.append((own > cosine.max(axis=0)) & (own > cosine.max(axis=1)))
    return np.array(found, dtype=np.float64)


def _unit(vectors: npt.NDArray[Any]) -> Floats:
    rows = np.asarray(vectors, dtype=np.float64)
    sizes: Floats = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return rows / np.maximum(sizes, np.finfo(np.float64).tiny)
