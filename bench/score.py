"""Time the weighing of options against lm-evaluation-harness at its best batch size, side by side."""

import argparse
import json
from typing import Any, NamedTuple

import numpy as np

from bench.harness import compared, interleaved, make_instances, make_loaded, make_peer, make_text, parse
from bench.harness import is_there as harness_is_there
from bridgex.evaluation.dialogue import Choice, Scores
from bridgex.evaluation.engines.hf import HFEngine

FIELDS = """\
Fields of the JSON line:
  seconds                   ours for all items, tokenizing included; median of the rounds
  harness_seconds           theirs, at the batch size of harness_batch, the fastest of 8, 16 and 32; both sides run in
                            every round; null: not installed
  ratio                     harness_seconds / seconds, median of the rounds' own ratios
  same_choices              whether both find the same option likeliest in each item whose two likeliest options differ
                            by more than 0.001 nats
  max_difference_per_token  largest difference of an option's log-probability, by its tokens, nats
  notes                     faster ways that our engine found this model not to allow
"""


class Form(NamedTuple):
    """Tokens at least and at most; few-shot examples in front of every prompt."""

    prompt: tuple[int, int]
    option: tuple[int, int]
    shared: int
    items: int


FORMS = {
    "short": Form((40, 90), (1, 3), 0, 48),
    "long": Form((20, 50), (12, 25), 0, 48),
    "prefix": Form((40, 90), (1, 3), 300, 16),
}
NUM_OPTIONS = 3
BATCHES = (8, 16, 32)


def simulate(form: Form) -> list[Choice]:
    generator = np.random.default_rng(0)
    shared = make_text(generator, form.shared, form.shared) + " " if form.shared else ""
    return [
        Choice(
            shared + make_text(generator, *form.prompt),
            tuple(" " + make_text(generator, *form.option) for _ in range(NUM_OPTIONS)),
        )
        for _ in range(form.items)
    ]


def measure(options: argparse.Namespace) -> dict[str, object]:
    loaded = make_loaded(options.dtype, options.device)
    form = FORMS[options.form]._replace(items=options.items or FORMS[options.form].items)
    choices = simulate(form)
    engine = HFEngine(loaded, boundary="lm_eval")
    ours = engine.score(choices)
    asked = [(choice.prompt, option) for choice in choices for option in choice.options]
    ways: dict[str, Any] = {"ours": lambda: engine.score(choices)}
    theirs = None
    if harness_is_there():
        peers = {size: make_peer(loaded, size) for size in BATCHES}
        for size, peer in peers.items():
            ways[str(size)] = lambda peer=peer: peer.loglikelihood(
                make_instances("loglikelihood", asked), disable_tqdm=True
            )
        theirs = np.array([value for value, _ in ways[str(BATCHES[0])]()]).reshape(-1, NUM_OPTIONS)
    seconds = interleaved(ways, options.rounds)
    return {
        "form": options.form,
        "dtype": options.dtype,
        "device": options.device,
        "items": len(choices),
        **compared(seconds),
        **agreement(ours, theirs),
        "notes": engine.notes,
    }


def agreement(ours: list[Scores], theirs: np.ndarray | None) -> dict[str, object]:
    if theirs is None:
        return {"same_choices": None, "max_difference_per_token": None}
    mine = np.array([[option.logprob for option in scores.options] for scores in ours])
    counts = np.array([[option.num_tokens for option in scores.options] for scores in ours])
    best_two = np.sort(theirs, axis=1)[:, -2:]
    clear = best_two[:, 1] - best_two[:, 0] > 1e-3
    return {
        "same_choices": bool((mine.argmax(axis=1) == theirs.argmax(axis=1))[clear].all()),
        "max_difference_per_token": float((np.abs(mine - theirs) / counts).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.score",
        description=__doc__,
        epilog=FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--form",
        choices=sorted(FORMS),
        default="short",
        help="short: 40 to 90 tokens and three options of 1 to 3; long: 20 to 50 and 12 to 25; prefix: as short, "
        "behind 300 tokens that all prompts begin with",
    )
    parser.add_argument("--items", type=int, help="default: 48, with prefix 16")
    print(json.dumps(measure(parse(parser))))


if __name__ == "__main__":
    main()
