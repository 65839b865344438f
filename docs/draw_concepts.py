"""Draws the pictures of the concept pages: `python docs/draw_concepts.py`, or with `--measure` their numbers anew.

Numbers come from the default runs on the toy world and are kept in `images/concepts.json`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).parent / "images"
NUMBERS = IMAGES / "concepts.json"
Point = tuple[float, float]

STYLE = """
svg { --ink: #1b1f24; --quiet: #57606a; --rule: #d0d7de; --paper: #ffffff;
  --blue: #0072b2; --orange: #b34700; --green: #00735c; --soft: #eef2f6; }
@media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --quiet: #a3adb8; --rule: #4a525c; --paper: #1d2127;
  --blue: #6cb8ee; --orange: #ffa266; --green: #5fd3b0; --soft: #2a3038; } }
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--ink); }
.small { font-size: 11.5px; fill: var(--quiet); } .mono { font: 12.5px ui-monospace, Menlo, Consolas, monospace; }
.strong { font-weight: 600; } .middle { text-anchor: middle; } .end { text-anchor: end; }
.paper { fill: var(--paper); } .box { fill: var(--soft); stroke: var(--rule); }
.rule { stroke: var(--rule); fill: none; } .ink { stroke: var(--ink); fill: none; stroke-width: 1.4; }
.blue { fill: var(--blue); } .orange { fill: var(--orange); } .green { fill: var(--green); }
.faint { stroke: var(--soft); stroke-width: 7.2; stroke-linecap: round; fill: none; }
.line-blue { stroke: var(--blue); fill: none; stroke-width: 2; }
.line-orange { stroke: var(--orange); fill: none; stroke-width: 2; }
.line-green { stroke: var(--green); fill: none; stroke-width: 2; }
.line-quiet { stroke: var(--quiet); fill: none; stroke-width: 1; opacity: .6; }
"""


class Picture:
    """An SVG being drawn; light or dark as the reader's screen is.

    Args:
        width: units.
        height: units.
        title: what a screen reader says.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-label="{escape(title)}">',
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{width}" height="{height}" rx="6"/>',
        ]

    def text(self, at: Point, words: str, kind: str = "") -> None:
        """Words, their base line at a point."""
        self._parts.append(f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" class="{kind}">{escape(words)}</text>')

    def box(self, at: Point, width: float, height: float, kind: str = "box", radius: float = 4) -> None:
        """A rectangle."""
        place = f'x="{at[0]:.1f}" y="{at[1]:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self._parts.append(f'<rect {place} rx="{radius}" class="{kind}"/>')

    def dot(self, at: Point, radius: float, kind: str) -> None:
        """A filled circle."""
        self._parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}" class="{kind}"/>')

    def dots(self, points: Sequence[Point], kind: str) -> None:
        """Many small dots in one element; the style's stroke says how large and in which colour."""
        self._parts.append(f'<path d="{"".join(f"M{x:.0f} {y:.0f}h0" for x, y in points)}" class="{kind}"/>')

    def line(self, points: Sequence[Point], kind: str = "ink") -> None:
        """A line through points."""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{joined}" class="{kind}"/>')

    def arrow(self, start: Point, end: Point, kind: str = "ink") -> None:
        """A line with a head at its end."""
        angle = math.atan2(end[1] - start[1], end[0] - start[0])
        sides = [(end[0] - 8 * math.cos(angle + turn), end[1] - 8 * math.sin(angle + turn)) for turn in (0.45, -0.45)]
        self.line([start, end], kind)
        self.line([sides[0], end, sides[1]], kind)

    def svg(self) -> str:
        """The file."""
        return "\n".join([*self._parts, "</svg>", ""])


def scaled(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """A map from values to places."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def routes(numbers: Mapping[str, Any]) -> Picture:
    """The same word directly, and through a bridge."""
    picture = Picture(760, 250, "A word translated directly, and in two steps through a bridge language")
    picture.text((20, 30), "direct", "strong")
    boxes = [(20.0, 44.0, 190.0), (20.0, 150.0, 190.0), (300.0, 150.0, 260.0)]
    word, bridge_word = numbers["word"], numbers["bridge_word"]
    prompts = [f'qaa:"{word}"→qaf:', f'qaa:"{word}"→qad:', f'qaa:"{word}"→qad:"{bridge_word}"→qaf:']
    for (x, y, width), prompt in zip(boxes, prompts, strict=True):
        picture.box((x, y), width, 36)
        picture.text((x + 12, y + 23), prompt, "mono")
    for y, answer, route, kind in ((62, "direct_answer", "direct", "orange"), (168, "via_answer", "via qad", "blue")):
        start = 210.0 if route == "direct" else 560.0
        picture.arrow((start, y), (start + 42, y))
        picture.text((start + 50, y + 5), f'"{numbers[answer]}"', f"mono {kind}")
        score = numbers["routes"][route]["score"]
        picture.text((start + 50, y + 25), f"right for {score:.0%} of the words", "small")
    picture.arrow((210, 168), (298, 168))
    picture.text((254, 160), f'"{bridge_word}"', "mono middle")
    picture.text((20, 136), "via qad, in two steps", "strong")
    picture.text((20, 206), "1  the model translates into the bridge language", "small")
    picture.text((300, 206), "2  the model goes on, its own bridge word in the prompt", "small")
    picture.text((20, 234), f"The right word in qaf is {numbers['gold']}. Both routes are the same model.", "small")
    return picture


def neurons(numbers: Mapping[str, Any]) -> Picture:
    """One block's neurons, and which of them are a language's."""
    masks = numbers["masks"]
    picture = Picture(760, 300, "The neurons of one block: those of the source, of the target, of both, of the bridge")
    panels = (
        ("qaa: N_S", ["qaa"]),
        ("qaf: N_T", ["qaf"]),
        ("overlap: both", ["qaa", "qaf"]),
        ("bridge qad: N_C", ["qad"]),
    )
    colours = ("blue", "orange", "green", "blue")
    for number, ((title, codes), colour) in enumerate(zip(panels, colours, strict=True)):
        left = 24 + number * 184.0
        chosen = set.intersection(*(set(masks[code]) for code in codes))
        picture.text((left, 30), title, "strong")
        places = [(left + 5 + neuron % 16 * 10.0, 50 + neuron // 16 * 12.0) for neuron in range(numbers["width"])]
        picture.dots([place for neuron, place in enumerate(places) if neuron not in chosen], "faint")
        for neuron in sorted(chosen):
            picture.dot(places[neuron], 3.6, colour)
        picture.text((left, 258), f"{len(chosen)} of {numbers['width']} neurons", "small")
    shared = set(masks["qaa"]) & set(masks["qaf"])
    both = len(shared & set(masks["qad"]))
    words = (
        f"Block {numbers['block']} of the toy model. {both} of the {len(shared)} overlap neurons are the bridge's too."
    )
    picture.text((24, 284), words, "small")
    return picture


def dependence(numbers: Mapping[str, Any]) -> Picture:
    """Two pairs of neurons over the probe words."""
    picture = Picture(760, 310, "Activations of two pairs of neurons over the probe words, with their HSIC")
    for number, pair in enumerate(numbers["neuron_pairs"]):
        left = 70 + number * 365.0
        x_at = scaled(min(pair["x"]), max(pair["x"]), left + 8, left + 282)
        y_at = scaled(min(pair["y"]), max(pair["y"]), 236, 54)
        picture.box((left, 44), 290, 200)
        for x, y in zip(pair["x"], pair["y"], strict=True):
            picture.dot((x_at(x), y_at(y)), 3, "blue" if number == 0 else "orange")
        picture.text((left, 30), f"normalised HSIC {round(pair['hsic'], 2) + 0.0:.2f}", "strong")
        picture.text((left + 145, 264), f"overlap neuron {pair['i']}", "small middle")
        picture.text((left - 12, 148), f"qad's {pair['j']}", "small end")
    count = len(numbers["neuron_pairs"][0]["x"])
    words = f"A dot is one of {count} probe words; block {numbers['block']} of the toy model."
    picture.text((70, 294), words, "small")
    return picture


def ranking(numbers: Mapping[str, Any]) -> Picture:
    """The ranking beside what the routes score."""
    picture = Picture(760, 216, "HSIC scores of three candidates with intervals, and the scores of the routes")
    found = numbers["candidates"]
    direct = numbers["routes"]["direct"]["score"]
    score_at, route_at = scaled(0.45, 0.7, 70, 340), scaled(0, 1, 430, 720)
    picture.text((70, 30), "hsic score, 95 % interval over words", "strong")
    picture.text((430, 30), "words translated rightly", "strong")
    for number, code in enumerate(found):
        y = 62 + number * 34.0
        row = found[code]
        picture.text((20, y + 5), code)
        picture.line([(70, y), (340, y)], "rule")
        picture.line([(score_at(row["ci95"][0]), y), (score_at(row["ci95"][1]), y)], "line-blue")
        picture.dot((score_at(row["score"]), y), 4.5, "blue")
        picture.text((score_at(row["score"]) + 14, y - 6), f"{row['score']:.3f}", "small")
        picture.box((430, y - 9), route_at(row["route"]) - 430, 18, "blue", 2)
        beyond = max(row["route"], direct if abs(row["route"] - direct) < 0.1 else 0)  # clear of the line
        picture.text((route_at(beyond) + 8, y + 5), f"{row['route']:.3f}", "small")
    picture.line([(route_at(direct), 44), (route_at(direct), 146)], "line-orange")
    picture.text((route_at(direct), 166), f"directly {direct:.3f}", "small middle")
    picture.text((20, 200), "The pair qaa-qaf of the toy world, 24 words. The ranking saw none of them.", "small")
    return picture


def similarity(numbers: Mapping[str, Any]) -> Picture:
    """What CKA takes for the same, and what not."""
    picture = Picture(760, 270, "Three clouds of points beside the first one: turned and grown, moved, and rearranged")
    for number, cloud in enumerate(numbers["clouds"]):
        left = 20 + number * 184.0
        picture.box((left, 44), 168, 168)
        at = scaled(-3.6, 3.6, 0, 168)
        for (x, y), third in zip(cloud["points"], numbers["thirds"], strict=True):
            kind = ("blue", "orange", "green")[third]
            picture.dot((left + at(x), 44 + 168 - at(y)), 4, kind)
        picture.text((left, 32), cloud["name"], "strong")
        picture.text((left, 234), cloud["says"], "small")
    picture.text(
        (20, 258),
        "A dot is a sentence, its colour says where it was before; drift is 1 - CKA with the first cloud.",
        "small",
    )
    return picture


def drift_by_block(numbers: Mapping[str, Any]) -> Picture:
    """Drift of every language, block by block."""
    picture = Picture(760, 320, "Drift by block, one line a language")
    values = numbers["drift"]
    x_at, y_at = scaled(0, 5, 70, 560), scaled(0, 0.15, 260, 40)
    for tick in (0.0, 0.05, 0.1, 0.15):
        picture.line([(70, y_at(tick)), (560, y_at(tick))], "rule")
        picture.text((60, y_at(tick) + 4), f"{tick:.2f}", "small end")
    for block in range(6):
        picture.text((x_at(block), 280), str(block), "small middle")
    picture.text((315, 304), "block (0: embeddings)", "small middle")
    picture.text((20, 26), "drift: 1 - CKA before and after", "strong")
    kinds = {
        code: "line-orange" if code == "qaa" else "line-blue" if code in ("qab", "qac") else "line-quiet"
        for code in values
    }
    for code in sorted(values, key=lambda code: kinds[code], reverse=True):
        line = [(x_at(int(block)), y_at(value)) for block, value in values[code].items()]
        picture.line(line, kinds[code])
    ends = ((values["qaa"]["5"], "qaa: fine-tuned on", "orange"), (values["qab"]["5"], "qab: its family", "blue"))
    for place, (value, words, kind) in enumerate(ends):
        picture.text((570, y_at(value) + (0 if place == 0 else 8)), words, kind)
    picture.text((570, y_at(values["qac"]["5"]) + 4), "qac: its family", "blue")
    picture.text((570, y_at(0.07) + 4), "nine others", "small")
    return picture


def drift_and_gap(numbers: Mapping[str, Any]) -> Picture:
    """Drift beside transfer, a dot a language."""
    picture = Picture(760, 330, "Transfer gap against drift in the last block, one dot a language")
    points = {code: (numbers["drift"][code]["5"], gap) for code, gap in numbers["gap"].items()}
    x_at, y_at = scaled(0.04, 0.145, 80, 700), scaled(0, 0.22, 260, 40)
    for tick in (0.0, 0.1, 0.2):
        picture.line([(80, y_at(tick)), (700, y_at(tick))], "rule")
        picture.text((70, y_at(tick) + 4), f"{tick:.1f}", "small end")
    for tick in (0.05, 0.075, 0.1, 0.125):
        picture.text((x_at(tick), 280), f"{tick:.3f}".rstrip("0"), "small middle")
    for code, (x, y) in points.items():
        kind = "blue" if code in ("qab", "qac") else "orange"
        picture.dot((x_at(x), y_at(y)), 5, kind)
        picture.text((x_at(x) + 8, y_at(y) - 6), code, "small")
    picture.text((20, 26), "transfer gap: accuracy in qaa less accuracy in this language", "strong")
    picture.text((390, 300), "drift in block 5", "small middle")
    picture.text((80, 320), numbers["relation"], "small")
    return picture


PICTURES: Mapping[str, Callable[[Mapping[str, Any]], Picture]] = {
    "concept-routes": routes,
    "concept-neurons": neurons,
    "concept-hsic": dependence,
    "concept-ranking": ranking,
    "concept-cka": similarity,
    "concept-drift": drift_by_block,
    "concept-gap": drift_and_gap,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="run the default commands again (about a minute)")
    if parser.parse_args().measure:
        from measure_concepts import measure

        NUMBERS.write_text(json.dumps(measure(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    read = json.loads(NUMBERS.read_text(encoding="utf-8"))
    for name, draw in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(draw(read).svg(), encoding="utf-8")
