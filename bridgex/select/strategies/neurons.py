"""Strategies that look at neurons: dependence, overlap, and how alike the activation shares are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from bridgex.records.schema import CandidateRecord, StrategyRecord
from bridgex.select.evidence import Evidence, Mask
from bridgex.select.neurons import bridge_neurons, language_neurons, middle_blocks, overlap_neurons
from bridgex.select.strategies.base import MissingEvidence, Strategy, two_legs

if TYPE_CHECKING:
    from torch import Tensor


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

        overlap, of_bridge = self._sets(evidence)
        middle = middle_blocks(len(overlap), evidence.probe_settings.depth)
        blocks = [block for block in middle if _is_usable(block, overlap, of_bridge)]
        if not blocks:
            raise MissingEvidence(_nothing_left(evidence))
        x, y, columns, excluded = self._matrices(evidence, overlap, of_bridge, blocks)
        try:
            found = candidate_scores(
                x,
                y,
                columns,
                estimator=self.hsic.estimator,
                transform=self.hsic.transform,
                excluded_blocks=excluded,
                num_orders=self.hsic.orders,
                num_replicates=self.hsic.bootstrap,
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
                    rank=score.rank,
                    p_rank1=score.p_rank1,
                    p_any_dependence=score.p_any_dependence,
                    block_scores=dict(zip(kept, score.block_scores, strict=True)),
                    self_matches=_share_of_self_matches(overlap, masks, kept),
                )
                for (code, masks), score in zip(of_bridge.items(), found.candidates, strict=True)
            },
            ties=[[evidence.candidates[place] for place in group] for group in found.ties],
            blocks=kept,
            # Of all middle blocks, so that the record shows which set left a block out.
            set_sizes=_set_sizes(overlap, of_bridge, middle),
            margin=found.margin,
            margin_ci95=found.margin_ci95,
            num_samples=x[0].shape[1],
        )

    def _sets(self, evidence: Evidence) -> tuple[tuple[Mask, ...], dict[str, tuple[Mask, ...]]]:
        share = evidence.probe_settings.neuron_share
        source, target = (
            language_neurons(evidence.profile(code), share) for code in (evidence.pair.source, evidence.pair.target)
        )
        overlap = overlap_neurons(source, target)
        return overlap, {
            code: bridge_neurons(
                language_neurons(evidence.profile(code), share), overlap, evidence.profile(code), self.neurons
            )
            for code in evidence.candidates
        }

    def _matrices(
        self,
        evidence: Evidence,
        overlap: Sequence[Mask],
        of_bridge: Mapping[str, Sequence[Mask]],
        blocks: Sequence[int],
    ) -> tuple[list[Tensor], list[Tensor], list[list[Tensor]], list[Tensor | None]]:
        """What `candidate_scores` takes: x, y, columns of each candidate in y, pairs that may not match; by block."""
        import torch

        union = [np.logical_or.reduce(masks) for masks in zip(*of_bridge.values(), strict=True)]
        wanted = [
            np.flatnonzero(overlap[i] | union[i]) if i + 1 in blocks else np.zeros(0, dtype=np.int64)
            for i in range(len(overlap))
        ]
        activations = evidence.probe(wanted)
        x: list[Tensor] = []
        y: list[Tensor] = []
        columns: list[list[Tensor]] = [[] for _ in of_bridge]
        excluded: list[Tensor | None] = []
        for place in (block - 1 for block in blocks):
            index = wanted[place]
            values = _values(evidence, activations.values[place], activations.num_tokens)
            rows, of_any = np.flatnonzero(overlap[place][index]), np.flatnonzero(union[place][index])
            x.append(values[rows])
            y.append(values[of_any])
            for own, masks in zip(columns, of_bridge.values(), strict=True):
                own.append(torch.from_numpy(np.flatnonzero(masks[place][index][of_any])))
            excluded.append(None if self.match_self else torch.from_numpy(rows[:, None] == of_any[None, :]))
        return x, y, columns, excluded


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


def _is_usable(block: int, overlap: Sequence[Mask], of_bridge: Mapping[str, Sequence[Mask]]) -> bool:
    """Whether every set has a neuron in the block."""
    return all(bool(masks[block - 1].any()) for masks in (overlap, *of_bridge.values()))


def _values(evidence: Evidence, values: npt.NDArray[Any], num_tokens: npt.NDArray[np.int64]) -> Tensor:
    """One block's activations `[neurons, prompts]`, the number of tokens regressed out where that is asked for."""
    import torch

    from bridgex.stats.kernels import residualise

    matrix = torch.tensor(np.asarray(values, dtype=np.float32))
    if evidence.probe_settings.partial_length:
        return residualise(matrix, torch.tensor(np.asarray(num_tokens, dtype=np.float64)))
    return matrix


def _nothing_left(evidence: Evidence) -> str:
    return (
        f"no middle block has neurons that {evidence.pair.source} and {evidence.pair.target} share and varying neurons "
        f"of every candidate, at probe.neuron_share={evidence.probe_settings.neuron_share:g}. "
        f"Raise probe.neuron_share, widen probe.depth, or name fewer bridge.candidates"
    )


def _share_of_self_matches(overlap: Sequence[Mask], masks: Sequence[Mask], blocks: Sequence[int]) -> float:
    """Share of the overlap neurons that are the candidate's own too, and so may match themselves."""
    both = sum(int((overlap[block - 1] & masks[block - 1]).sum()) for block in blocks)
    return both / max(1, sum(int(overlap[block - 1].sum()) for block in blocks))


def _set_sizes(
    overlap: Sequence[Mask], of_bridge: Mapping[str, Sequence[Mask]], blocks: Sequence[int]
) -> dict[str, dict[int, int]]:
    sets = {"overlap": overlap, **of_bridge}
    return {name: {block: int(masks[block - 1].sum()) for block in blocks} for name, masks in sets.items()}
