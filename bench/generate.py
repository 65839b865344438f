"""Time greedy generation of short answers against lm-evaluation-harness at its best batch size, side by side."""

import argparse
import json
import re
from typing import Any

import numpy as np

from bench.harness import compared, interleaved, is_there, make_instances, make_loaded, make_peer, make_text, parse
from bridgex.evaluation.dialogue import Question
from bridgex.evaluation.engines.hf import HFEngine

FIELDS = """\
Fields of the JSON line:
  seconds          ours for all prompts, tokenizing included; median of the rounds
  harness_seconds  theirs, at the batch size of harness_batch, the fastest of 8, 16, 32 and 96; both sides run in every
                   round; null: not installed
  ratio            harness_seconds / seconds, median of the rounds' own ratios
  same_text        share of the prompts that both answer with the same text, up to where it stops
  mean_tokens      of an answer; it ends at the first of --stop, or after 30 tokens
  notes            faster ways that our engine found this model not to allow
"""

BATCHES = (8, 16, 32, 96)
MAX_TOKENS = 30


def measure(options: argparse.Namespace) -> dict[str, object]:
    loaded = make_loaded(options.dtype, options.device)
    generator = np.random.default_rng(0)
    prompts = [make_text(generator, 8, 24) for _ in range(options.prompts)]
    stop = re.compile("|".join(map(re.escape, options.stop)) or r"(?!)")
    questions = [Question("answer", prompt, MAX_TOKENS, stop) for prompt in prompts]
    engine = HFEngine(loaded)
    ours = engine.complete(questions)
    ways: dict[str, Any] = {"ours": lambda: engine.complete(questions)}
    same = None
    if is_there():
        given = {"until": list(options.stop), "max_gen_toks": MAX_TOKENS, "do_sample": False}
        for size in BATCHES:
            peer = make_peer(loaded, size)
            ways[str(size)] = lambda peer=peer: peer.generate_until(
                make_instances("generate_until", [(prompt, dict(given)) for prompt in prompts]), disable_tqdm=True
            )
        theirs = ways[str(BATCHES[-1])]()
        same = float(np.mean([stop.split(mine.text)[0] == text for mine, text in zip(ours, theirs, strict=True)]))
    seconds = interleaved(ways, options.rounds)
    return {
        "dtype": options.dtype,
        "device": options.device,
        "prompts": len(prompts),
        "mean_tokens": float(np.mean([completion.num_tokens for completion in ours])),
        **compared(seconds),
        "same_text": same,
        "notes": engine.notes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.generate",
        description=__doc__,
        epilog=FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prompts", type=int, default=96, help="each of 8 to 24 tokens")
    parser.add_argument(
        "--stop", nargs="*", default=["7", "4"], help="answers end where one of these is found; none: after 30 tokens"
    )
    print(json.dumps(measure(parse(parser))))


if __name__ == "__main__":
    main()
