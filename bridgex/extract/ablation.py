"""Holds chosen neurons at their means while a model runs, as if they knew nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bridgex.errors import UserError
from bridgex.extract.site_hooks import SiteHooks
from bridgex.extract.sites import Site


class MeanAblation(SiteHooks):
    """Hooks that replace activations; use as a context manager, which always takes them off again.

    Args:
        sites: of all blocks of the model.
        means: by block, mean activation of every neuron `[I]`.
        num_prefix: tokens in front of each text that stay as they are (a BOS carries no language, and much of the
            attention rests on it). Rows must be padded on the right.

    Example:
        >>> with MeanAblation(sites, means, 1) as ablation:  # doctest: +SKIP
        ...     ablation.hold({3: indices})
        ...     model(input_ids=ids, attention_mask=mask)
    """

    def __init__(self, sites: Sequence[Site], means: Mapping[int, npt.NDArray[np.float64]], num_prefix: int) -> None:
        super().__init__(sites)
        self._means, self._num_prefix = means, num_prefix
        self._held: dict[int, tuple[Tensor, Tensor]] = {}
        self._touched: set[int] = set()

    def hold(self, neurons: Mapping[int, npt.NDArray[np.int64]]) -> None:
        """From now on these neurons are held, and no others.

        Args:
            neurons: by block, their indices.
        """
        self._touched = set()
        self._held = {
            block: (torch.from_numpy(np.ascontiguousarray(indices)), torch.from_numpy(self._means[block][indices]))
            for block, indices in neurons.items()
            if len(indices)
        }

    def check(self) -> None:
        """Says whether every block that holds neurons ran since `hold`.

        Raises:
            UserError: one did not, so that nothing was held there.
        """
        missing = sorted(self._held.keys() - self._touched)
        if missing:
            raise UserError(
                f"block {missing[0]}: {self._by_block[missing[0]].path} did not run in a forward pass, so its neurons "
                f"could not be held. Something replaced the model's feed-forward code; load it without"
            )

    def _on_activation(self, site: Site, output: Any, shape: tuple[int, int]) -> Any:
        if site.block not in self._held:
            return None
        self._touched.add(site.block)
        indices, means = (part.to(output.device) for part in self._held[site.block])
        changed = output.clone().reshape(*shape, site.num_neurons)
        changed[:, self._num_prefix :, indices] = means.to(output.dtype)
        return changed.reshape(output.shape)
