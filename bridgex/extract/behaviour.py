"""What the modules of a transformer block do: seen in one forward pass, and tried out one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

# Two computations of one thing: above the rounding of bfloat16, far below the distance of two different things.
_SAME = 1e-2
# How far from an affine map the rounding of bfloat16 and of weights in 4 or 8 bits may take a projection.
_AFFINE = 5e-2


@dataclass(eq=False)
class Call:
    """One call of a module inside a block.

    Attributes:
        path: name of the module within the block.
        module: the module.
        given: its only input `[..., K]`, copied; None: it took something else.
        gave: its output `[..., K']`, copied; None: no tensor of floating-point numbers.
    """

    path: str
    module: nn.Module
    given: Tensor | None = None
    gave: Tensor | None = None


@dataclass
class BlockCalls:
    """What one forward pass showed of one block.

    Attributes:
        hidden_size: width of the first tensor that the block is given.
        calls: of its modules, in the order in which they ended.
    """

    hidden_size: int = 0
    calls: list[Call] = field(default_factory=list)

    def of(self, path: str) -> list[Call]:
        """The calls of one module."""
        return [call for call in self.calls if call.path == path]


class Watch:
    """Hooks on blocks and on everything inside them; use as a context manager around one forward pass.

    Args:
        layers: the blocks, numbered from 1.

    Attributes:
        order: numbers of the blocks as they were run.
        blocks: what each showed, by number.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.order: list[int] = []
        self.blocks = {block: BlockCalls() for block in range(1, len(layers) + 1)}
        self._layers = list(layers)
        self._paths = [{id(module): path for path, module in layer.named_modules() if path} for layer in layers]
        self._handles: list[RemovableHandle] = []
        self._open: list[Call] = []
        self._running = 0

    def __enter__(self) -> Watch:
        # By identity: a module that serves several blocks is watched once, and belongs to the block that is running.
        inner = {id(module): module for layer in self._layers for module in list(layer.modules())[1:]}
        try:
            for block, layer in enumerate(self._layers, start=1):
                self._handles.append(layer.register_forward_pre_hook(self._enter(block), with_kwargs=True))
                self._handles.append(layer.register_forward_hook(self._leave))
            for module in inner.values():
                self._handles.append(module.register_forward_pre_hook(self._begin, with_kwargs=True))
                self._handles.append(module.register_forward_hook(self._finish))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._remove()

    def _enter(self, block: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.order.append(block)
            self._running = block
            self._open.clear()
            given = next((value for value in (*args, *kwargs.values()) if _is_floating(value)), None)
            self.blocks[block].hidden_size = given.shape[-1] if given is not None else 0

        return hook

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._running = 0

    def _begin(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not self._running or id(module) not in self._paths[self._running - 1]:
            return
        # Copied before the call: an activation function may write into its input.
        is_alone = len(args) == 1 and not kwargs and _is_floating(args[0])
        path = self._paths[self._running - 1][id(module)]
        self._open.append(Call(path, module, given=args[0].clone() if is_alone else None))

    def _finish(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self._running or not self._open or self._open[-1].module is not module:
            return
        call = self._open.pop()
        call.gave = output.clone() if _is_floating(output) else None
        self.blocks[self._running].calls.append(call)

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


@torch.no_grad()
def is_activation(module: nn.Module, device: torch.device) -> bool:
    """Whether a module acts on each entry alone, on all entries alike, and bends.

    It is tried out on numbers from -4 to 4, in order and shuffled: a norm or a softmax does not follow the shuffling;
    dropout, which does nothing in evaluation mode, and scaling do not bend. What holds a matrix is a projection or
    contains one, and is not tried.

    Args:
        module: any module; what it does beside giving an output is not undone.
        device: where its model computes.
    """
    if any(tensor.ndim > 1 for tensor in (*module.parameters(), *module.buffers())):
        return False
    points = torch.linspace(-4.0, 4.0, 48, device=device)
    shuffled = torch.randperm(48, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        found = module(points.reshape(2, 3, 8))
        again = module(points[shuffled].reshape(2, 3, 8))
    except Exception:  # it takes something else
        return False
    if not all(_is_floating(output) and output.shape == (2, 3, 8) for output in (found, again)):
        return False
    found, again = found.float().reshape(-1), again.float().reshape(-1)
    bend = found.diff(n=2).abs().max()
    return is_same(again, found[shuffled]) and bool(bend > 1e-3 * (found.max() - found.min()))


@torch.no_grad()
def is_repeatable(call: Call) -> bool:
    """Whether the module gives the same again for what it was given."""
    assert call.given is not None
    assert call.gave is not None
    try:
        again = call.module(call.given.clone())
    except Exception:  # it needs more than its input, such as a state that the pass had left
        return False
    return isinstance(again, Tensor) and is_same(again, call.gave)


@torch.no_grad()
def is_projection(call: Call) -> bool:
    """Whether the module holds weights and is an affine map: `2 (f(-2x) - f(-x)) = f(-x) - f(x)` for what it was given.

    Its class does not count, so that a quantised projection, or one with an adapter around it, is a projection too.
    """
    if call.given is None or call.gave is None:
        return False
    if not any(True for _ in (*call.module.parameters(), *call.module.buffers())):
        return False
    try:
        both = call.module(torch.cat([-call.given, -2 * call.given]))
    except Exception:  # it takes something else
        return False
    if not isinstance(both, Tensor) or len(both) != 2 * len(call.gave):
        return False
    once, twice = both[: len(call.gave)].float(), both[len(call.gave) :].float()
    return is_same(2 * (twice - once), once - call.gave.float(), _AFFINE)


def is_same(found: Tensor, expected: Tensor, tolerance: float = _SAME) -> bool:
    """Whether `|found - expected| <= tolerance |expected|`, Euclidean over all finite entries, the same in both.

    Damaged weights give nan on both sides, and it is for the self-check to say so.
    """
    if found.shape != expected.shape:
        return False
    holes = ~expected.isfinite()
    if not torch.equal(holes, ~found.isfinite()):
        return False
    found, expected = found.float().masked_fill(holes, 0.0), expected.float().masked_fill(holes, 0.0)
    return bool((found - expected).norm() <= tolerance * expected.norm())


def _is_floating(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 0
