"""Holds chosen neurons at their means while a model runs, as if they knew nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bridgex.errors import UserError
from bridgex.extract.sites import Site


class MeanAblation:
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
        self._sites = {site.block: site for site in sites}
        self._means, self._num_prefix = means, num_prefix
        self._held: dict[int, tuple[Tensor, Tensor]] = {}
        self._handles: list[RemovableHandle] = []
        self._running, self._shape = 0, (0, 0)
        self._touched: set[int] = set()

    def __enter__(self) -> MeanAblation:
        try:
            for site in self._sites.values():
                enter = site.layer.register_forward_pre_hook(self._enter(site.block), with_kwargs=True)
                self._handles += [enter, site.layer.register_forward_hook(self._leave)]
            for module in {id(site.module): site.module for site in self._sites.values()}.values():
                self._handles.append(module.register_forward_hook(self._replace))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

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
                f"block {missing[0]}: {self._sites[missing[0]].path} did not run in a forward pass, so its neurons "
                f"could not be held. Something replaced the model's feed-forward code; load it without"
            )

    def _enter(self, block: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            states = args[0] if args else kwargs["hidden_states"]
            self._running, self._shape = block, (states.shape[0], states.shape[1])

        return hook

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._running = 0

    def _replace(self, module: nn.Module, args: Any, output: Any) -> Any:
        site = self._sites.get(self._running)
        if site is None or site.module is not module or site.block not in self._held:
            return output
        self._touched.add(site.block)
        indices, means = (part.to(output.device) for part in self._held[site.block])
        changed = output.clone().reshape(*self._shape, site.num_neurons)
        changed[:, self._num_prefix :, indices] = means.to(output.dtype)
        return changed.reshape(output.shape)

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
