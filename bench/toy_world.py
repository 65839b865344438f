"""What a toy world's model can do: words, sentences, inference and reading, direct and through each hub.

    python -m bench.toy_world --world bridgex/toy

One JSON line on stdout a group of pairs. Shares are exact matches of greedy answers; `n` counts items over all pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from bridgex.data.toy_lines import LABELS
from bridgex.data.toy_world import CODES, contact_hub, family, family_hub, hubs, tier

Pair = tuple[str, str]
Row = dict[str, Any]
Cells = dict[str, list[float]]

_FIELDS = """
fields:
  task       bli (the held-out words), mt (held-out words in sentences), nli, mrc
  group      which pairs: hub->low and low->hub are weak ones of two families without loans; hub->hub is strong
  pairs, n   number of pairs, of items over all pairs
  direct     asked straight from source to target (nli, mrc: premise or passage in the source, the rest in the target)
  translated nli, mrc: premise or passage translated straight into the target, then answered there
  family hub, contact hub, unrelated hub   through a hub: that of the low language's family, the one it borrows from,
             neither of the two; hub->hub: `other hub`, the mean over both others. bli, mt: the second prompt
             repeats the first and its answer, or (`afresh`) asks from the hub alone. nli, mrc: all texts are translated
  swapped    nli in one language, each premise exchanged for another item's: must fall to chance (0.33)
  rebound    mrc in one language, the objects of the passage exchanged: share of the answers that stay with the old
             object; must be small
  met        the last line: whether each claim about the world holds
"""


class Speaker:
    """Asks the model; remembers what it said, since many routes share a step.

    Args:
        folder: of the model.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self._model = LlamaForCausalLM.from_pretrained(folder).eval()
        self._said: dict[str, str] = {}

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Texts into another language; they stay as they are where it is the same."""
        if source == target:
            return list(texts)
        return self.complete([f'{source}:"{text}"→{target}:' for text in texts])

    def complete(self, prompts: Sequence[str]) -> list[str]:
        """The first quoted text of each answer."""
        new = sorted(
            {prompt for prompt in prompts if prompt not in self._said}, key=lambda prompt: (len(prompt), prompt)
        )
        for start in range(0, len(new), 256):
            batch = new[start : start + 256]
            inputs = self._tokenizer(batch, return_tensors="pt", padding=True)
            with torch.inference_mode():
                outputs = self._model.generate(**inputs, max_new_tokens=12, do_sample=False)
            answers = self._tokenizer.batch_decode(outputs[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            for prompt, answer in zip(batch, answers, strict=True):
                self._said[prompt] = answer.split('"')[1] if answer.startswith('"') else ""
        return [self._said[prompt] for prompt in prompts]

    def choose(self, prompts: Sequence[str], options: Sequence[Sequence[str]]) -> list[int]:
        """Which of its options each prompt makes most likely; the first of several."""
        texts = [prompt + option for prompt, row in zip(prompts, options, strict=True) for option in row]
        lengths = [
            len(self._tokenizer(option, add_special_tokens=False)["input_ids"]) for row in options for option in row
        ]
        scores: list[float] = []
        for start in range(0, len(texts), 256):
            inputs = self._tokenizer(texts[start : start + 256], return_tensors="pt", padding=True)
            with torch.inference_mode():
                logits = self._model(**inputs).logits.log_softmax(-1)
            chosen = logits[:, :-1].gather(2, inputs["input_ids"][:, 1:, None]).squeeze(2)
            scores += [float(row[-length:].sum()) for row, length in zip(chosen, lengths[start:], strict=False)]
        choices = []
        for row in options:
            own, scores = scores[: len(row)], scores[len(row) :]
            choices.append(own.index(max(own)))
        return choices


class Bench:
    """All measurements on one world.

    Args:
        folder: of the world: `model` and the data.
        items: sentences and premises, passages a pair.
    """

    def __init__(self, folder: Path, items: int) -> None:
        self._folder = folder
        self._items = items
        self._speaker = Speaker(folder / "model")

    def groups(self, task: str, only: Pair | None = None) -> Iterator[dict[str, object]]:
        """One result a group of pairs; with `only`, the one of that pair."""
        measure: Callable[[str, str], Cells] = getattr(self, f"_{task}")
        groups = {"hub->low": _weak_pairs("hub"), "low->hub": _weak_pairs("low"), "hub->hub": _hub_pairs()}
        for name, pairs in groups.items():
            if only is not None and only not in pairs:
                continue
            cells: Cells = {}
            for source, target in pairs if only is None else [only]:
                for route, correct in measure(source, target).items():
                    cells.setdefault(route, []).extend(correct)
            shares = {route: round(statistics.fmean(correct), 3) for route, correct in cells.items()}
            count = len(pairs) if only is None else 1
            yield (
                {"task": task, "group": name if only is None else "-".join(only), "pairs": count}
                | {"n": len(cells["direct"])}
                | shares
            )

    def controls(self) -> Iterator[dict[str, object]]:
        """Inference and reading within one language, and whether premise and passage are read."""
        for name in ("hub", "moderate", "low"):
            codes = [code for code in CODES if tier(code) == name]
            cells: Cells = {"nli": [], "swapped": [], "mrc": [], "rebound": []}
            for code in codes:
                rows = self._rows("xnli", code)
                cells["nli"] += self._classify(rows, code, code)
                shifted = rows[len(rows) // 2 :] + rows[: len(rows) // 2]
                swapped = [row | {"premise": other["premise"]} for row, other in zip(rows, shifted, strict=True)]
                cells["swapped"] += self._classify(swapped, code, code)
                passages = self._rows("belebele", code)
                cells["mrc"] += self._read(passages, code, code)
                cells["rebound"] += self._read([_rebound(row, code) for row in passages], code, code)
            shares = {route: round(statistics.fmean(correct), 3) for route, correct in cells.items()}
            yield {"task": "controls", "group": f"one language, {name}", "n": len(cells["nli"])} | shares

    def _bli(self, source: str, target: str) -> Cells:
        path = self._folder / "muse" / f"{source}-{target}.5000-6500.txt"
        pairs = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
        return self._translations(source, target, [word for word, _ in pairs], [gold for _, gold in pairs])

    def _mt(self, source: str, target: str) -> Cells:
        given, gold = ([row["text"] for row in self._rows("flores", code)] for code in (source, target))
        return self._translations(source, target, given, gold)

    def _translations(self, source: str, target: str, given: list[str], gold: list[str]) -> Cells:
        cells = {"direct": _matches(self._speaker.translate(given, source, target), gold)}
        for route, bridge in _bridges(source, target):
            between = self._speaker.translate(given, source, bridge)
            prompts = [f'{source}:"{s}"→{bridge}:"{b}"→{target}:' for s, b in zip(given, between, strict=True)]
            cells.setdefault(route, []).extend(_matches(self._speaker.complete(prompts), gold))
            afresh = self._speaker.translate(between, bridge, target)
            cells.setdefault(f"{route} afresh", []).extend(_matches(afresh, gold))
        return cells

    def _nli(self, source: str, target: str) -> Cells:
        premises, hypotheses = self._rows("xnli", source), self._rows("xnli", target)
        rows = [row | {"premise": other["premise"]} for row, other in zip(hypotheses, premises, strict=True)]
        cells = {
            "direct": self._classify(rows, source, target),
            "translated": self._classify(self._translated(rows, ["premise"], source, target), target, target),
        }
        for route, bridge in _bridges(source, target):
            both = self._translated(rows, ["premise"], source, bridge)
            both = self._translated(both, ["hypothesis"], target, bridge)
            cells.setdefault(route, []).extend(self._classify(both, bridge, bridge))
        return cells

    def _mrc(self, source: str, target: str) -> Cells:
        passages, questions = self._rows("belebele", source), self._rows("belebele", target)
        key = "flores_passage"
        rows = [row | {key: other[key]} for row, other in zip(questions, passages, strict=True)]
        rest = ["question", *(f"mc_answer{number}" for number in range(1, 5))]
        cells = {
            "direct": self._read(rows, source, target),
            "translated": self._read(self._translated(rows, [key], source, target), target, target),
        }
        for route, bridge in _bridges(source, target):
            both = self._translated(self._translated(rows, [key], source, bridge), rest, target, bridge)
            cells.setdefault(route, []).extend(self._read(both, bridge, bridge))
        return cells

    def _rows(self, data: str, code: str) -> list[Row]:
        path = self._folder / data / code / ("devtest.jsonl" if data == "flores" else "test.jsonl")
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines[: self._items]]

    def _translated(self, rows: list[Row], keys: Sequence[str], source: str, target: str) -> list[Row]:
        rows = [dict(row) for row in rows]
        for key in keys:
            sentences = [sentence for row in rows for sentence in row[key].split(".")]
            done = iter(self._speaker.translate(sentences, source, target))
            for row in rows:
                row[key] = ".".join(next(done) for _ in row[key].split("."))
        return rows

    def _classify(self, rows: list[Row], source: str, target: str) -> list[float]:
        prompts = [f'{source}:"{row["premise"]}"|{target}:"{row["hypothesis"]}"→' for row in rows]
        choices = self._speaker.choose(prompts, [LABELS] * len(rows))
        return [float(choice == row["label"]) for choice, row in zip(choices, rows, strict=True)]

    def _read(self, rows: list[Row], source: str, target: str) -> list[float]:
        prompts = [f'{source}:"{row["flores_passage"]}"?{target}:"{row["question"]}"→{target}:' for row in rows]
        options = [[f'"{row[f"mc_answer{number}"]}"' for number in range(1, 5)] for row in rows]
        choices = self._speaker.choose(prompts, options)
        return [float(choice + 1 == int(row["correct_answer_num"])) for choice, row in zip(choices, rows, strict=True)]


def _weak_pairs(source_tier: str) -> list[Pair]:
    pairs = [
        (hub, low)
        for low in CODES
        if tier(low) == "low"
        for hub in hubs()
        if family(hub) != family(low) and hub != contact_hub(low)
    ]
    return pairs if source_tier == "hub" else [(low, hub) for hub, low in pairs]


def _hub_pairs() -> list[Pair]:
    return [(a, b) for a in hubs() for b in hubs() if a != b]


def _bridges(source: str, target: str) -> Iterator[tuple[str, str]]:
    low = next((code for code in (source, target) if tier(code) == "low"), None)
    for hub in hubs():
        if hub in (source, target):
            continue
        if low is None:
            yield "other hub", hub
        elif hub == family_hub(low):
            yield "family hub", hub
        else:
            yield "contact hub" if hub == contact_hub(low) else "unrelated hub", hub


def _matches(answers: list[str], gold: list[str]) -> list[float]:
    return [float(answer == right) for answer, right in zip(answers, gold, strict=True)]


def _rebound(row: Row, code: str) -> Row:
    facts = [sentence.split(" ") for sentence in row["flores_passage"].split(".")]
    place = 1 if family(code) == "B" else 2
    objects = [fact[place] for fact in facts]
    for fact, new in zip(facts, objects[1:] + objects[:1], strict=True):
        fact[place] = new
    return row | {"flores_passage": ".".join(" ".join(fact) for fact in facts)}


def _claims(results: list[dict[str, Any]]) -> dict[str, bool]:
    bli = {result["group"]: result for result in results if result["task"] == "bli"}
    weak = [bli["hub->low"], bli["low->hub"]]
    gain = statistics.fmean(result["family hub"] - result["direct"] for result in weak)
    unrelated = statistics.fmean(result["unrelated hub"] - result["direct"] for result in weak)
    return {
        "weak: family hub - direct >= 0.15": gain >= 0.15,
        "weak: unrelated hub <= direct + 0.10": unrelated <= 0.10,
        "hub->hub: direct >= other hub - 0.02": bli["hub->hub"]["direct"] >= bli["hub->hub"]["other hub"] - 0.02,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.toy_world",
        description=__doc__,
        epilog=_FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--world", type=Path, required=True, help="folder that holds model/ and the data")
    parser.add_argument("--items", type=int, default=24, help="rows a pair for mt, nli and mrc (bli: all words)")
    parser.add_argument("--pair", default="qaa-qaf", help="a weak hub-low or a hub-hub pair to show by itself")
    parser.add_argument("--tasks", nargs="+", default=["bli", "mt", "nli", "mrc"], help="bli mt nli mrc")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.world, arguments.items)
    source, target = arguments.pair.split("-")
    results: list[dict[str, Any]] = []
    for task in arguments.tasks:
        for result in [*bench.groups(task), *bench.groups(task, (source, target))]:
            results.append(result)
            print(json.dumps(result), flush=True)
    for result in bench.controls():
        print(json.dumps(result), flush=True)
    if "bli" in arguments.tasks:
        print(json.dumps({"met": _claims(results)}))


if __name__ == "__main__":
    main()
