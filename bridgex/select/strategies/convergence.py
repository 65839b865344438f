"""Convergence: does the model bring source and target to the same place on the way into the bridge?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bridgex.languages import language
from bridgex.records.schema import StrategyRecord
from bridgex.select.evidence import Evidence
from bridgex.select.strategies.base import MissingEvidence, Strategy, ranking_of, with_intervals

# What an unbiased CKA can be computed from.
_MIN_WORDS = 4
# Half of the words must be enough for an unbiased CKA.
_MIN_WORDS_FOR_INTERVALS = 8


class Convergence(Strategy):
    """Unbiased linear CKA between what the model holds on the way into C from the source and from the target.

    For each probe pair (w, v) of the source-target dictionary the hidden state at the last token of `{S}:"w"→{C}:"`
    and of `{T}:"v"→{C}:"`, the opening quote included, so that the next token is the first of the word in C;
    `score(C) = CKA` of the two sets of vectors over the pairs. No dictionary of C and nothing generated: two prefills a
    candidate and word. `docs/strategies.md` has the reasons, the evidence, and where it fails.

    It looks at translations of training words, which `hsic` and `confidence` do not, and never at an evaluated item:
    neither its word nor any of its right answers is in a pair.
    """

    reads_words: ClassVar[bool] = True
    uses_dictionary: ClassVar[bool] = True

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """CKA of each candidate, with intervals over word pairs from half-samples that all candidates share.

        Raises:
            MissingEvidence: too few pairs, a block that the model does not have, or states that do not vary.
        """
        import torch

        from bridgex.stats.cka_subsets import cka_deviations, half_samples

        pairs = evidence.probe_pairs()
        if len(pairs) < _MIN_WORDS:
            raise MissingEvidence(
                f"{len(pairs)} probe words have a translation that is no right answer of an evaluated item, and "
                f"convergence needs {_MIN_WORDS}. Raise probe.limit, or give a longer word list"
            )
        prompts = [
            self.convergence.prompt.format(language=language(code).name, word=word, bridge=language(bridge).name)
            for bridge in evidence.candidates
            for code, words in zip((evidence.pair.source, evidence.pair.target), zip(*pairs, strict=True), strict=True)
            for word in words
        ]
        states = evidence.states(prompts, self.convergence.block)
        sides = torch.from_numpy(np.asarray(states)).reshape(len(evidence.candidates), 2, len(pairs), -1)
        num_replicates = self.hsic.bootstrap if len(pairs) >= _MIN_WORDS_FOR_INTERVALS else 0
        halves = half_samples(len(pairs), num_replicates, evidence.seed)
        scores, replicates = {}, []
        for code, (from_source, from_target) in zip(evidence.candidates, sides, strict=True):
            score, deviations = cka_deviations(from_source, from_target, halves)
            if score is None:
                raise MissingEvidence(
                    f"the states on the way into {code} do not vary over {len(pairs)} words at block "
                    f"{self.convergence.block}. Let bridge.convergence.prompt end after {{word}} and {{bridge}}"
                )
            scores[code] = score
            replicates.append(score + deviations.numpy())
        ranking = ranking_of(scores).model_copy(
            update={
                "num_samples": len(pairs),
                "origin": _told(self.convergence.block),
                "uses_dictionary": self.uses_dictionary,
            }
        )
        return ranking if num_replicates == 0 else with_intervals(ranking, np.stack(replicates))


def _told(block: int | str) -> str:
    return "hidden state after the final norm" if block == "last" else f"hidden state after block {block}"
