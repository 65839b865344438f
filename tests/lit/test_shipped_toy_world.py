"""The shipped world: whole, small, made by this very code, and its bridges work."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from statistics import fmean

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

import bridgex
from bridgex.config.toy_recipe import ToyRecipe
from bridgex.data.toy_files import data_files
from bridgex.data.toy_lines import LABELS
from bridgex.data.toy_world import CODES, ToyWorld, contact_hub, family_hub, hubs, tier

WORLD = Path(bridgex.__file__).parent / "toy"


class Model:
    def __init__(self) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(WORLD / "model")
        self.model = LlamaForCausalLM.from_pretrained(WORLD / "model").eval()

    @torch.inference_mode()
    def answers(self, prompts: list[str], max_tokens: int = 4) -> list[str]:
        """The quoted answer to each prompt."""
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True)
        outputs = self.model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        answers = self.tokenizer.batch_decode(outputs[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [(answer + '""').split('"')[1] for answer in answers]

    @torch.inference_mode()
    def labels(self, prompts: list[str]) -> list[int]:
        """The label that each prompt makes most likely."""
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True)
        ids = self.tokenizer.convert_tokens_to_ids(list(LABELS))
        found: list[int] = self.model(**inputs).logits[:, -1, ids].argmax(-1).tolist()
        return found


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def told() -> dict[str, object]:
    content: dict[str, object] = json.loads((WORLD / "model" / "recipe.json").read_text(encoding="utf-8"))
    return content


def accuracy(model: Model, source: str, target: str, bridge: str | None = None) -> float:
    lines = (WORLD / "muse" / f"{source}-{target}.5000-6500.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" ") for line in lines]
    end = f"→{target}:"
    if bridge is None:
        answers = model.answers([f'{source}:"{word}"{end}' for word, _ in pairs])
    else:
        between = model.answers([f'{source}:"{word}"→{bridge}:' for word, _ in pairs])
        prompts = [f'{source}:"{word}"→{bridge}:"{b}"{end}' for (word, _), b in zip(pairs, between, strict=True)]
        answers = model.answers(prompts)
    return fmean(answer == gold for answer, (_, gold) in zip(answers, pairs, strict=True))


def test_weights_are_the_ones_that_the_recipe_file_names(told: dict[str, object]) -> None:
    weights = (WORLD / "model" / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == told["weights_sha256"]
    assert ToyRecipe.model_validate(told["recipe"]) == ToyRecipe()
    assert told["seed"] == 0


def test_data_are_what_the_recipe_gives() -> None:
    files = {path.relative_to(WORLD).as_posix(): path for path in WORLD.rglob("*") if path.is_file()}
    data = {name: path.read_bytes().decode() for name, path in files.items() if not name.startswith("model/")}
    assert data == data_files(ToyWorld(ToyRecipe(), seed=0))


def test_world_is_small_and_holds_no_stray_file() -> None:
    assert sum(path.stat().st_size for path in WORLD.rglob("*") if path.is_file()) < 6e6
    assert {path.name for path in WORLD.iterdir()} == {"belebele", "flores", "model", "muse", "ntrex", "xnli"}
    assert {path.suffix for path in WORLD.rglob("*") if path.is_file()} == {".txt", ".jsonl", ".json", ".safetensors"}


def test_related_hubs_help_weak_pairs_and_unrelated_ones_do_not(model: Model) -> None:
    direct, related, unrelated = [], [], []
    for low in CODES:
        if tier(low) != "low":
            continue
        own, contact = family_hub(low), contact_hub(low)
        for hub in hubs():
            if hub in (own, contact):
                continue
            (other,) = (code for code in hubs() if code not in (own, contact, hub))
            for pair in ((hub, low), (low, hub)):
                direct.append(accuracy(model, *pair))
                related.append(accuracy(model, *pair, bridge=own))
                unrelated.append(accuracy(model, *pair, bridge=other))
    assert len(direct) == 16
    assert fmean(related) - fmean(direct) >= 0.15
    assert fmean(unrelated) <= fmean(direct) + 0.10


def test_sentences_go_better_through_the_related_hub(model: Model) -> None:
    given, gold = (
        [json.loads(line)["text"] for line in (WORLD / "flores" / code / "devtest.jsonl").read_text().splitlines()][:80]
        for code in ("qaa", "qaf")
    )
    direct = model.answers([f'qaa:"{text}"→qaf:' for text in given], max_tokens=10)
    between = model.answers([f'qaa:"{text}"→qad:' for text in given], max_tokens=10)
    prompts = [f'qaa:"{text}"→qad:"{b}"→qaf:' for text, b in zip(given, between, strict=True)]
    bridged = model.answers(prompts, max_tokens=10)
    shares = [fmean(a == b for a, b in zip(answers, gold, strict=True)) for answers in (direct, bridged)]
    assert shares[1] - shares[0] >= 0.15


def test_strong_pairs_need_no_bridge(model: Model) -> None:
    direct = accuracy(model, "qaa", "qad")
    assert direct >= 0.9
    assert direct >= accuracy(model, "qaa", "qad", bridge="qaj") - 0.02


def test_inference_within_a_hub_reads_the_premise(model: Model) -> None:
    rows = [json.loads(line) for line in (WORLD / "xnli" / "qaa" / "test.jsonl").read_text().splitlines()]
    labels = [row["label"] for row in rows]
    real = model.labels([f'qaa:"{row["premise"]}"|qaa:"{row["hypothesis"]}"→' for row in rows])
    swapped = model.labels(
        [
            f'qaa:"{other["premise"]}"|qaa:"{row["hypothesis"]}"→'
            for row, other in zip(rows, rows[120:] + rows[:120], strict=True)
        ]
    )
    assert fmean(a == b for a, b in zip(real, labels, strict=True)) > 0.6
    assert fmean(a == b for a, b in zip(swapped, labels, strict=True)) < 0.45
