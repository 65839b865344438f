"""Hooks on the places where a model's neurons are, and which block they fire in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from bridgex.extract.sites import Site

if TYPE_CHECKING:
    from typing_extensions import Self


class SiteHooks(ABC):
    """Is told of every activation while it is open; a context manager, which always takes its hooks off again.

    Args:
        sites: where the neurons are.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        self._sites = tuple(sites)
        self._by_block = {site.block: site for site in sites}
        self._handles: list[RemovableHandle] = []
        self._running = 0

    @abstractmethod
    def _on_activation(self, site: Site, output: Any, shape: tuple[int, int]) -> Any:
        """Takes what a site's module gave.

        Args:
            site: the site, told apart by the block that is running where blocks share a module.
            output: the activation.
            shape: `[B, T]` of the block's input.

        Returns:
            What the model goes on with; None: the activation.
        """

    def __enter__(self) -> Self:
        try:
            for site in self._sites:
                enter = site.layer.register_forward_pre_hook(self._enter(site.block), with_kwargs=True)
                self._handles += [enter, site.layer.register_forward_hook(self._leave)]
            for module in {id(site.module): site.module for site in self._sites}.values():
                self._handles.append(module.register_forward_hook(self._take))
        except BaseException:
            self._remove()
            raise
        self._running = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _enter(self, block: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            states = args[0] if args else kwargs["hidden_states"]
            self._running, self._shape = block, (states.shape[0], states.shape[1])

        return hook

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._running = 0

    def _take(self, module: nn.Module, args: Any, output: Any) -> Any:
        site = self._by_block.get(self._running)
        # A shared activation function also runs in blocks that are not meant.
        if site is None or site.module is not module:
            return None
        return self._on_activation(site, output, self._shape)

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
