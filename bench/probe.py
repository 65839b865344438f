"""Time the reading of neurons against one prompt at a time with 30 generated tokens, side by side."""

import argparse
import json
import logging
import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.timing import now, timed
from bridgex.extract.loading import Encoder, LoadedModel
from bridgex.extract.profiles import ProbeMatrix
from bridgex.lit.probe import collect_probe_matrix
from bridgex.lit.run_trainer import RunTrainer

FIELDS = """\
Fields of the JSON line:
  seconds             ours for all prompts, start-up included; median of the rounds
  startup_seconds     of it: trainer, sites, self-check, and the model's way to an accelerator and back
  loop_seconds        for all prompts, one at a time: hooks put on and taken off, the prompt, then 30 tokens greedily
                      with a key-value cache; measured on loop_prompts of them, evenly from the shortest to the longest,
                      and scaled by their number
  ratio               loop_seconds / seconds, median of the rounds' own ratios
  pass_ratio          the same without ours' start-up
  prompts_per_second  of seconds
  tokens              of all prompts
  floor_seconds       the matrix products with the weights that these tokens need up to the last block's activation, at
                      the rate of matrix_gflops
  matrix_gflops       measured in each round: a product [tokens of one pass, hidden] x [hidden, intermediate]
  floor_ratio         (seconds - startup_seconds) / floor_seconds, median of the rounds' own ratios
  matrix_rate_share   1 / floor_ratio: how much of the measured rate the passes reach
  max_difference      between our means and the loop's, of every kept neuron of the prompts that the loop read
  scale               the largest absolute mean among them, for max_difference
  neurons             kept in each block: 1 %
  pass_tokens         tokens of the largest pass
"""

SHAPES: dict[str, dict[str, Any]] = {
    "small": {
        "hidden_size": 512, "intermediate_size": 1792, "num_hidden_layers": 8, "vocab_size": 32_000,
        "num_attention_heads": 8, "num_key_value_heads": 2,
    },
    "llama3-8b": {
        "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "vocab_size": 128_256,
        "num_attention_heads": 32, "num_key_value_heads": 8,
    },
}  # fmt: skip
# Shortest and longest prompt in tokens, BOS included; few are long.
LENGTHS = {"words": (8, 24), "sentences": (15, 120)}
NUM_GENERATED = 30


def make_loaded(shape: str, dtype: str, device: str) -> LoadedModel:
    """A random Llama, and a tokenizer to which a text is the numbers of its tokens."""
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=2048)
    with torch.device(device):
        torch.manual_seed(0)
        model = LlamaForCausalLM._from_config(config, dtype=getattr(torch, dtype)).eval()
    names = ["<unk>", "<s>", "</s>", *map(str, range(3, config.vocab_size))]
    words = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    encoder = Encoder(tokenizer, prefix=(1,), uses_chat_template=False, system_prompt=None)
    return LoadedModel(shape, Path("nowhere"), model, encoder, end_ids=(2,))


def simulate(kind: str, count: int, vocabulary: int) -> list[str]:
    generator = np.random.default_rng(0)
    low, high = LENGTHS[kind]
    lengths = np.rint(low + (high - low) * generator.beta(1.5, 3.2, count)).astype(int)
    return [" ".join(map(str, generator.integers(3, vocabulary, length - 1))) for length in lengths]


class PassTimes(Callback):
    """Seconds from the first pass to the last, and the tokens of the largest one."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.tokens = 0

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._handle = pl_module.model.get_input_embeddings().register_forward_hook(self._count)
        self._start = now()

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = now() - self._start
        self._handle.remove()

    def _count(self, module: torch.nn.Module, args: Any, output: Tensor) -> None:
        self.tokens = max(self.tokens, output.shape[:-1].numel())


class Ours(NamedTuple):
    matrix: ProbeMatrix
    seconds: float
    times: PassTimes


def run_ours(
    loaded: LoadedModel, prompts: Sequence[str], neurons: Sequence[npt.NDArray[Any]], device: str, tokens: int | None
) -> Ours:
    times = PassTimes()

    def make_trainer(callbacks: Sequence[Callback]) -> Trainer:
        return RunTrainer(
            accelerator=device,
            devices=1,
            callbacks=[*callbacks, times],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )

    start = now()
    matrix = collect_probe_matrix(loaded, prompts, neurons, make_trainer, batch_tokens=tokens)
    seconds = now() - start
    loaded.model.to(device)  # where the trainer has taken it from
    return Ours(matrix, seconds, times)


@torch.no_grad()
def run_loop(
    loaded: LoadedModel, prompts: Sequence[str], neurons: Sequence[npt.NDArray[Any]], device: str
) -> list[list[Tensor]]:
    """Of each prompt and block the mean activation over its tokens less the BOS."""
    model: Any = loaded.model
    found = []
    for prompt in prompts:
        means: list[list[Tensor]] = [[] for _ in neurons]
        handles = []
        for layer, kept, indices in zip(model.model.layers, means, neurons, strict=True):

            def keep(module: Any, args: Any, output: Tensor, kept: list[Tensor] = kept, indices: Any = indices) -> None:
                chosen = output[0, :, indices].float()
                kept.append(chosen[1:].mean(dim=0) if len(chosen) > 1 else chosen[0])

            handles.append(layer.mlp.act_fn.register_forward_hook(keep))
        ids = torch.tensor([loaded.encoder.encode(prompt)], device=device)
        output = model(ids, use_cache=True, logits_to_keep=1)
        for _ in range(NUM_GENERATED - 1):
            ids = output.logits[:, -1].argmax(dim=-1, keepdim=True)
            output = model(ids, past_key_values=output.past_key_values, use_cache=True, logits_to_keep=1)
        for handle in handles:
            handle.remove()
        found.append([kept[0] for kept in means])
    return found


def matrix_rate(config: LlamaConfig, num_tokens: int, dtype: str, device: str) -> float:
    """FLOP/s of a product of the shape that most of the time goes into."""
    given = torch.randn(num_tokens, config.hidden_size, dtype=getattr(torch, dtype), device=device)
    weight = torch.randn(config.intermediate_size, config.hidden_size, dtype=given.dtype, device=device)
    operations = 2 * given.numel() * config.intermediate_size
    repeats = max(3, int(2e10 // operations) if device == "cpu" else 20)
    torch.nn.functional.linear(given, weight)
    seconds = timed(lambda: [torch.nn.functional.linear(given, weight) for _ in range(repeats)])
    return repeats * operations / seconds


def num_operations(config: LlamaConfig, num_tokens: int) -> int:
    """Of the products with weights; the last block is left after its first feed-forward projection."""
    hidden, inner, num_blocks = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    attention = 2 * hidden * hidden + 2 * hidden * hidden * key_heads // heads
    return 2 * num_tokens * (num_blocks * (attention + hidden * inner) + (num_blocks - 1) * 2 * hidden * inner)


def measure(options: argparse.Namespace) -> dict[str, object]:
    device = options.device
    loaded = make_loaded(options.shape, options.dtype, device)
    config: Any = loaded.model.config
    prompts = simulate(options.prompts, options.num_prompts, config.vocab_size)
    by_length = np.argsort([len(prompt.split()) for prompt in prompts], kind="stable")
    chosen = by_length[np.linspace(0, len(prompts) - 1, options.loop_prompts).astype(int)]
    looped = [prompts[index] for index in chosen]
    num_neurons = round(0.01 * config.intermediate_size)
    generator = np.random.default_rng(1)
    neurons = [
        np.sort(generator.choice(config.intermediate_size, num_neurons, replace=False))
        for _ in range(config.num_hidden_layers)
    ]
    first = run_ours(loaded, prompts, neurons, device, options.batch_tokens)
    run_loop(loaded, looped[:1], neurons, device)
    operations = num_operations(config, int(first.matrix.num_tokens.sum()) + len(prompts))
    ours, passes, loops, rates = [], [], [], []
    for _ in range(options.rounds):
        rates.append(matrix_rate(config, first.times.tokens, options.dtype, device))
        done = run_ours(loaded, prompts, neurons, device, options.batch_tokens)
        ours.append(done.seconds)
        passes.append(done.times.seconds)
        loops.append(timed(lambda: run_loop(loaded, looped, neurons, device)) * len(prompts) / len(looped))
    theirs = [
        torch.stack(block).T.cpu().numpy() for block in zip(*run_loop(loaded, looped, neurons, device), strict=True)
    ]
    pairs = [(mine[:, chosen], other) for mine, other in zip(first.matrix.values, theirs, strict=True)]
    seconds = statistics.median(ours)
    floor_ratio = statistics.median(took * rate / operations for took, rate in zip(passes, rates, strict=True))
    return {
        "prompts": options.prompts,
        "shape": options.shape,
        "dtype": options.dtype,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "num_prompts": len(prompts),
        "loop_prompts": len(looped),
        "tokens": int(first.matrix.num_tokens.sum()) + len(prompts),
        "neurons": num_neurons,
        "pass_tokens": first.times.tokens,
        "seconds": seconds,
        "startup_seconds": statistics.median(a - b for a, b in zip(ours, passes, strict=True)),
        "loop_seconds": statistics.median(loops),
        "ratio": statistics.median(b / a for a, b in zip(ours, loops, strict=True)),
        "pass_ratio": statistics.median(b / a for a, b in zip(passes, loops, strict=True)),
        "prompts_per_second": len(prompts) / seconds,
        "floor_seconds": operations / statistics.median(rates),
        "matrix_gflops": statistics.median(rates) / 1e9,
        "floor_ratio": floor_ratio,
        "matrix_rate_share": 1 / floor_ratio,
        "max_difference": max(float(np.abs(mine - other).max()) for mine, other in pairs),
        "scale": max(float(np.abs(other).max()) for _, other in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.probe",
        description=__doc__,
        epilog=FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prompts", choices=sorted(LENGTHS), default="words", help="8 to 24 tokens, or 15 to 120")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="small", help="a Llama with random weights")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cpu: one thread")
    parser.add_argument("--num-prompts", type=int, default=500)
    parser.add_argument("--loop-prompts", type=int, default=8, help="how many of them the loop reads")
    parser.add_argument("--batch-tokens", type=int, help="tokens of one pass at most; as probe.batch_tokens")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not 2 <= options.loop_prompts <= options.num_prompts:
        parser.error(f"--loop-prompts {options.loop_prompts}: from 2 to --num-prompts, {options.num_prompts}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has none that torch can use")
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
