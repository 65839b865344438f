"""Time the comparison of representations against the reading of them, side by side."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.models.bert import BertConfig

from bench.timing import now
from bridgex.config.settings import ModelSettings
from bridgex.data.sources import toy_world
from bridgex.extract.block_states import BlockReader
from bridgex.extract.classifier import PairInput, load_classifier, load_pair_encoder
from bridgex.lit.drift import drift_of
from bridgex.stats.cka import cka

FIELDS = """\
Fields of the JSON line:
  reading_seconds    forward passes of all pairs, every block's states pooled; median of the rounds
  drift_seconds      unbiased and biased CKA of every block, and the share of its top row, before against after
  share              drift_seconds / reading_seconds, median of the rounds' own shares
  max_difference     between these and the plain form, block by block, in float64
  peak_mb            of the states that are kept for the comparison
"""

SHAPES: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12},
    "mbert": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
}


def encoder(shape: str) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
        BertConfig(vocab_size=1000, num_labels=3, max_position_embeddings=128, **SHAPES[shape])
    )
    return model.eval()


def random_pairs(num_pairs: int, num_tokens: int, batch_tokens: int) -> list[PairInput]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 1000, (num_pairs, num_tokens), generator=generator)
    size = max(1, batch_tokens // num_tokens)
    return [PairInput(part, torch.ones_like(part), None, part > 0) for part in ids.split(size)]


def toy() -> tuple[PreTrainedModel, list[PairInput]]:
    folder = toy_world(None) / "model"
    settings = ModelSettings(kind="toy", name="toy", pair_input='{language}:"{first}"|{language}:"{second}"→')
    made = load_pair_encoder(settings, folder, 128)
    rows = [json.loads(line) for line in (toy_world(None) / "xnli" / "qaa" / "test.jsonl").read_text().splitlines()]
    pairs = made.encode("qaa", [row["premise"] for row in rows], [row["hypothesis"] for row in rows])
    batches = [made.batch(pairs[start : start + 48]) for start in range(0, len(pairs), 48)]
    return load_classifier(settings, folder, made, 3, seed=0), batches


def read_all(reader: BlockReader, batches: Sequence[PairInput]) -> Tensor:
    return torch.cat([reader.read(batch).states["mean"] for batch in batches])


def measure(model: PreTrainedModel, batches: Sequence[PairInput], rounds: int, device: str) -> dict[str, Any]:
    model, batches = model.to(device), [batch.to(torch.device(device)) for batch in batches]
    reader = BlockReader(model, ("mean",))
    before = read_all(reader, batches)
    with torch.no_grad():
        for parameter in model.base_model.parameters():
            parameter += 0.02 * torch.randn_like(parameter) * parameter.std()
    reading, comparing = [], []
    for _ in range(rounds):
        start = now()
        after = read_all(reader, batches)
        between = now()
        found = drift_of(before, after, "de", 1, "mean")
        reading.append(between - start)
        comparing.append(now() - between)
    differences = [
        abs(value - (1 - (cka(before[:, block].cpu(), after[:, block].cpu(), estimator) or 0.0)))
        for estimator in ("unbiased", "biased")
        for block, value in enumerate(getattr(found, estimator))
        if value is not None
    ]
    return {
        "pairs": len(before),
        "blocks": before.shape[1],
        "width": before.shape[2],
        "reading_seconds": round(statistics.median(reading), 4),
        "drift_seconds": round(statistics.median(comparing), 4),
        "share": round(statistics.median(b / a for a, b in zip(reading, comparing, strict=True)), 4),
        "max_difference": max(differences),
        "peak_mb": round(2 * before.numel() * before.element_size() / 2**20, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=FIELDS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=["toy", *SHAPES], default="small")
    parser.add_argument("--pairs", type=int, default=300, help="not for the toy world, whose test part is read")
    parser.add_argument("--tokens", type=int, default=48, help="of a pair; not for the toy world")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    if given.shape == "toy":
        model, batches = toy()
    else:
        per_pass = 16_384 if given.device == "cuda" else 1024
        model, batches = encoder(given.shape), random_pairs(given.pairs, given.tokens, per_pass)
    line = {"bench": "drift", "shape": given.shape, "device": given.device, "threads": given.threads}
    print(json.dumps(line | measure(model, batches, given.rounds, given.device)))


if __name__ == "__main__":
    main()
