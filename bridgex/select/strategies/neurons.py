"""Strategies that look at neurons: dependence, overlap, and how alike the activation shares are."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bridgex.records.schema import CandidateRecord, StrategyRecord
from bridgex.select.evidence import Evidence
from bridgex.select.neurons import language_neurons, middle_blocks, overlap_neurons
from bridgex.select.probe_inputs import block_inputs, neuron_sets
from bridgex.select.strategies.base import MissingEvidence, Strategy, two_legs


class Hsic(Strategy):
    """Dependence between overlap neurons and each candidate's neurons over probe prompts (Xu et al. 2025).

    Score(C) = mean over middle blocks of `(mean_i max_j H_ij + mean_j max_i H_ij) / 2`, less what chance gives.
    """

    reads_profiles: ClassVar[bool] = True
    reads_words: ClassVar[bool] = True

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Scores with chance correction, intervals over source words, and what each block says.

        Raises:
            MissingEvidence: no middle block has neurons of every set; names the share to raise.
        """
        from bridgex.stats.candidates import NoUsableBlockError, candidate_scores

        sets = neuron_sets(evidence, self.neurons)
        middle = middle_blocks(len(sets.overlap), evidence.probe_settings.depth)
        blocks = [block for block in middle if sets.is_usable(block)]
        if not blocks:
            raise MissingEvidence(_nothing_left(evidence))
        with_null = self.hsic.draws > 0 and self.hsic.estimator != "paper"
        inputs = block_inputs(evidence, sets, blocks, match_self=self.match_self, with_null=with_null)
        try:
            found = candidate_scores(
                inputs.x,
                inputs.y,
                inputs.columns,
                estimator=self.hsic.estimator,
                transform=self.hsic.transform,
                excluded_blocks=inputs.excluded,
                pools=inputs.pools,
                num_orders=self.hsic.orders,
                num_replicates=self.hsic.bootstrap,
                num_draws=self.hsic.draws,
                seed=evidence.seed,
            )
        except NoUsableBlockError:
            raise MissingEvidence(_nothing_left(evidence)) from None
        kept = [blocks[place] for place in found.blocks_kept]
        return StrategyRecord(
            scores={
                code: CandidateRecord(
                    score=score.score,
                    raw=score.raw,
                    ci95=score.ci95,
                    influence_ci95=score.influence_ci95,
                    rank=score.rank,
                    p_rank1=score.p_rank1,
                    p_any_dependence=score.p_any_dependence,
                    p_any_dependence_corrected=score.p_any_dependence_corrected,
                    matched=score.matched,
                    without_self_matches=score.without_self_matches,
                    random_neurons=score.random_neurons,
                    p_neuron_null=score.p_neuron_null,
                    p_neuron_null_corrected=score.p_neuron_null_corrected,
                    block_scores=dict(zip(kept, score.block_scores, strict=True)),
                    self_matches=sets.share_of_self_matches(code, kept),
                )
                for code, score in zip(sets.of_bridge, found.candidates, strict=True)
            },
            ties=[[evidence.candidates[place] for place in group] for group in found.ties],
            blocks=kept,
            # Of all middle blocks, so that the record shows which set left a block out.
            set_sizes=sets.sizes(middle),
            margin=found.margin,
            margin_ci95=found.margin_ci95,
            num_samples=inputs.x[0].shape[1],
        )


class Overlap(Strategy):
    """How many language neurons a candidate shares with source and with target: mean of the two counts."""

    reads_profiles: ClassVar[bool] = True

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Mean of both counts over all blocks."""
        share = evidence.probe_settings.neuron_share
        sets = {code: language_neurons(evidence.profile(code), share) for code in _languages(evidence)}
        pair = evidence.pair

        def shared(first: str, second: str) -> float:
            return float(sum(int(mask.sum()) for mask in overlap_neurons(sets[first], sets[second])))

        return two_legs(
            evidence, {code: (shared(pair.source, code), shared(code, pair.target)) for code in evidence.candidates}
        )


class Cosine(Strategy):
    """Cosine between activation shares, each neuron's mean over the languages in play taken off."""

    reads_profiles: ClassVar[bool] = True

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Mean of the cosines source-candidate and candidate-target over all neurons."""
        shares = {code: np.concatenate(evidence.profile(code).share) for code in _languages(evidence)}
        mean = np.mean(list(shares.values()), axis=0)
        pair = evidence.pair

        def alike(first: str, second: str) -> float:
            a, b = shares[first] - mean, shares[second] - mean
            size = float(np.linalg.norm(a) * np.linalg.norm(b))
            return float(a @ b) / size if size else 0.0

        return two_legs(
            evidence, {code: (alike(pair.source, code), alike(code, pair.target)) for code in evidence.candidates}
        )


def _languages(evidence: Evidence) -> list[str]:
    return [evidence.pair.source, evidence.pair.target, *evidence.candidates]


def _nothing_left(evidence: Evidence) -> str:
    return (
        f"no middle block has neurons that {evidence.pair.source} and {evidence.pair.target} share and varying neurons "
        f"of every candidate, at probe.neuron_share={evidence.probe_settings.neuron_share:g}. "
        f"Raise probe.neuron_share, widen probe.depth, or name fewer bridge.candidates"
    )
