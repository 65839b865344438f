"""The HSIC ranking, and no bridge at all where the model is not clearly surer of itself through one."""

from __future__ import annotations

from bridgex.records.schema import AgainstDirect, StrategyRecord
from bridgex.select.evidence import DIRECT, Evidence
from bridgex.select.strategies.base import MissingEvidence, best_of
from bridgex.select.strategies.neurons import Hsic


class HsicOrDirect(Hsic):
    """Ranks as `hsic`, and goes directly unless its first choice clearly makes the model surer of what it says.

    For each probe word, the mean log-probability a token of the less sure step via the first choice, less that of the
    direct answer; no label is looked at. A chain is as sure as its weakest step: in a mean over both, a step into the
    bridge that is easy would make up for an answer that is a guess. The bridge is taken if the lower end of the mean's
    95 % interval (bootstrap over words) exceeds `bridge.margin`.
    """

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Scores as `hsic`, and the comparison with going directly.

        Raises:
            MissingEvidence: as `hsic`.
        """
        return self.weigh(super().rank(evidence), evidence)

    def weigh(self, ranking: StrategyRecord, evidence: Evidence) -> StrategyRecord:
        """A finished `hsic` ranking with the comparison of its first choice and going directly.

        Raises:
            MissingEvidence: there is no ranking.
        """
        from bridgex.stats.paired import group_interval

        bridge = best_of(ranking)
        if bridge is None:
            raise MissingEvidence(str(ranking.missing))
        found = evidence.confidence((DIRECT, bridge))
        gains = found[bridge].weakest - found[DIRECT].weakest
        ci95 = group_interval(gains, seed=evidence.seed)
        against = AgainstDirect(
            bridge=bridge,
            gain=float(gains.mean()),
            ci95=ci95,
            margin=self.margin,
            chose_direct=not ci95[0] > self.margin,
        )
        return ranking.model_copy(update={"against_direct": against})
