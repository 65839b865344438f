"""An engine that knows the items: it answers rightly, or errs in the way it is told to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from bridgex.config import command, settings
from bridgex.config.settings import Settings
from bridgex.evaluation.dialogue import Choice, Completion, Question, Reply, Request, ScoredOption, Scores, converse
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item, Items, Task
from bridgex.evaluation.tasks.choices import ChoiceTask
from bridgex.evaluation.tasks.context import ContextItem
from bridgex.languages import language
from bridgex.records.schema import Prediction

Mood = Literal["right", "wrong", "foreign", "silent", "cut"]
"""How an engine answers: rightly, with other words, in another script, not at all, or until its tokens are used up."""

FOREIGN = "это совсем другой язык"
_TRANSLATION = re.compile(
    r'^(?P<source>[^:"]+):"(?P<text>.*?)"→(?:(?P<bridge>[^:"→]+):"(?P<between>.*)"→)?(?P<target>[^:"→]+):$'
)


class ScriptedEngine:
    """Answers requests about some items.

    Args:
        task: what is asked.
        items: what it knows: all their texts, and the right answers.
        source: code of the source language.
        target: code of the target language.
        bridge: how it answers where a bridge text is asked for.
        answer: how it answers otherwise.
    """

    def __init__(
        self,
        task: Task,
        items: Sequence[Item],
        source: str,
        target: str,
        bridge: Mood = "right",
        answer: Mood = "right",
    ) -> None:
        self._items, self._moods = items, {"bridge": bridge, "answer": answer}
        self._labels: Sequence[str] = ()
        if isinstance(task, ChoiceTask):
            self._labels = ("entailment", "neutral", "contradiction") if task.chance == 1 / 3 else "ABCD"
        self._known: dict[tuple[str, str, str], str] = {}
        for item in items:
            for texts in _parallel_texts(item, source, target):
                for code, text in texts.items():
                    for other, translation in texts.items():
                        key = (language(code).name, " ".join(text.split()), language(other).name)
                        self._known.setdefault(key, " ".join(translation.split()))
        self._meant: dict[str, str] = {}
        self.asked: list[Request] = []

    def __call__(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply to each request."""
        self.asked += requests
        return [
            self._completion(request) if isinstance(request, Question) else self._scores(request)
            for request in requests
        ]

    def _completion(self, question: Question) -> Completion:
        mood = self._moods[question.kind]
        match = _TRANSLATION.match(question.prompt.rpartition("\n")[2])
        if match is not None:
            said = self._translation(match, mood)
        else:
            (item,) = self._items_of(question.prompt, question.context)
            number = item.gold[0] if mood == "right" else f"{item.gold[0]}7"
            said = f" 1 + 1 = 2. So it is {number}.\nQuestion: What else?" if mood != "silent" else ""
        if mood != "cut":
            stop = question.stop.search(said)
            said = said if stop is None else said[: stop.end()]
        return Completion(question.prompt, said, max(1, len(said)), -1.0, mood == "cut")

    def _translation(self, match: re.Match[str], mood: Mood) -> str:
        if mood == "silent":
            return ""
        right = self._known[match["source"], match["text"], match["target"]]
        number = len(self._meant)
        said = {"right": right, "wrong": f"x{right}", "foreign": f"{FOREIGN} {number}", "cut": f"und {number} und"}[
            mood
        ]
        self._meant[_bare(said)] = _bare(right)
        # As models do: the line goes on with another language.
        return f'"{said}' if mood == "cut" else f'"{said}"→{match["source"]}:"and so on"'

    def _scores(self, choice: Choice) -> Scores:
        found = self._items_of(choice.prompt, choice.context, *choice.options)
        (right,) = {self._labels.index(item.gold[0]) for item in found}
        best = right if self._moods["answer"] == "right" else (right + 1) % len(choice.options)
        return Scores(
            choice.prompt,
            tuple(
                ScoredOption(-1.0 if number == best else -50.0 - number, len(text))
                for number, text in enumerate(choice.options)
            ),
        )

    def _items_of(self, prompt: str, context: tuple[int, int] | None, *options: str) -> list[ContextItem]:
        """The items whose context stands in a request, and whose query and options most of all."""
        assert context is not None
        shown, texts = _bare(prompt[slice(*context)]), [prompt[context[1] :], *options]
        shown = self._meant.get(shown, shown)
        found = []
        for item in self._items:
            if isinstance(item, ContextItem) and shown in {_bare(side.context) for side in item.sides.values()}:
                queries = [side.query for side in item.sides.values() if any(side.query in text for text in texts)]
                listed = {option for side in item.sides.values() for option in _plain(side.options)}
                num_listed = sum(any(option in text for text in texts) for option in listed)
                if queries:
                    found.append(((max(map(len, queries)), num_listed), item))
        best = max(worth for worth, _ in found)
        return [item for worth, item in found if worth == best]


def _plain(options: Sequence[str]) -> list[str]:
    """Options less their first letters, which may be made small."""
    return [option[1:] for option in options]


def _bare(text: str) -> str:
    return " ".join(text.split()).rstrip(".!?。 ")


def _parallel_texts(item: Item, source: str, target: str) -> list[dict[str, str]]:
    if not isinstance(item, ContextItem):
        return [
            {source: item.text, target: item.gold[0], **{code: texts[0] for code, texts in item.bridge_gold.items()}}
        ]
    sides = item.sides
    found = [{code: side.context for code, side in sides.items()}, {code: side.query for code, side in sides.items()}]
    found += [
        {code: side.options[number] for code, side in sides.items()} for number in range(len(sides[target].options))
    ]
    # The toy world's texts are translated sentence by sentence.
    sentences = {code: side.context.split(".") for code, side in sides.items()}
    if len({len(texts) for texts in sentences.values()}) == 1:
        found += [{code: texts[n] for code, texts in sentences.items()} for n in range(len(sentences[source]))]
    return found


def settings_for(*overrides: str, root: Path | None = None) -> Settings:
    """Settings of a run, and nothing looked for on disk."""
    own = [] if root is None else ["model=random", f"data.root={root}"]
    (cell,) = command.check("evaluate", [*own, *overrides], settings.validate)
    return settings.validate(cell.config)


def load(*overrides: str, root: Path | None = None, bridges: Sequence[str] = ()) -> tuple[Task, Items, Settings]:
    """A task, its items with those bridge languages, and the settings."""
    found = settings_for(*overrides, root=root)
    task = found.task.build(Task)
    return task, task.items(found, bridges), found


def ask(
    task: Task, items: Items, found: Settings, route: Route, bridge: Mood = "right", answer: Mood = "right"
) -> list[Prediction]:
    """Every item on a route, answered by one who knows them."""
    source, target = found.pair.source, found.pair.target
    engine = ScriptedEngine(task, items.items, source, target, bridge, answer)
    return converse([task.dialogue(item, language(source), language(target), route) for item in items.items], engine)


def play(
    task: Task, item: Item, found: Settings, route: Route, said: Sequence[str] = ()
) -> tuple[list[Request], Prediction]:
    """What is asked of one item on a route, and what becomes of it.

    Args:
        task: what is asked.
        item: the item.
        found: names the pair.
        route: the route.
        said: what each question is answered with, in order; of a choice the first option is the most likely.
    """
    dialogue = task.dialogue(item, language(found.pair.source), language(found.pair.target), route)
    waiting, asked = list(said), [next(dialogue)]
    while True:
        request = asked[-1]
        reply: Reply
        if isinstance(request, Question):
            reply = Completion(request.prompt, waiting.pop(0), 3, -1.0, False)
        else:
            reply = Scores(request.prompt, tuple(ScoredOption(-float(n), 1) for n in range(len(request.options))))
        try:
            asked.append(dialogue.send(reply))
        except StopIteration as stop:
            assert not waiting, "more was expected to be asked"
            return asked, stop.value


def shown_context(request: Request) -> str:
    """The part of a prompt that may be cut."""
    assert request.context is not None
    return request.prompt[slice(*request.context)]


def routes(code: str, has_context: bool, translate: Literal["context", "both"] = "context") -> list[Route]:
    """Every route there is with a bridge."""
    bridge = language(code)
    through = [Route("translated")] if has_context else []
    return [Route(), *through, Route("via", bridge, translate), Route("gold", bridge, translate)]


def write_rows(root: Path, name: str, rows: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """Rows by file below a data set's folder, as JSON lines."""
    import json

    for file, some in rows.items():
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some), encoding="utf-8")


def make_data(root: Path) -> Path:
    """Few rows of every data set, in the hubs' layouts: texts name their language, kind and number."""
    for part, count, start in (("test", 4, 0), ("validation", 3, 100)):
        write_rows(root, "xnli", {
            f"{code}/{part}.jsonl": [
                {"premise": f"{code} p{start + n}.", "hypothesis": f"{code} h{start + n}{mark}", "label": (n + k) % 3}
                for n in range(count) for k, mark in enumerate("xyz")
            ]
            for code in ("de", "fr", "en", "es")
        })  # fmt: skip
        write_rows(root, "xcopa", {
            f"{code}/{part}.jsonl": [
                {
                    "premise": f"{code} p{start + n}.", "choice1": f"{code.title()} a{start + n}.",
                    "choice2": f"{code.title()} b{start + n}.", "question": ("cause", "effect")[n % 2],
                    "label": n // 2 % 2, "idx": start + n, "changed": False,
                }
                for n in range(count)
            ]
            for code in ("it", "sw", "en", "vi")
        })  # fmt: skip
    write_rows(root, "belebele", {
        f"{code}/test.jsonl": [
            {
                "link": f"l{n // 2}", "question_number": n % 2 + 1, "flores_passage": f"{code[:2]} p{n // 2}.\nMore.",
                "question": f"{code[:2]} q{n}?", **{f"mc_answer{k}": f"{code[:2]} o{n}{k}" for k in range(1, 5)},
                "correct_answer_num": str(n % 4 + 1), "dialect": code, "ds": "2023-05-03",
            }
            for n in range(8)
        ]
        for code in ("deu_Latn", "fra_Latn", "eng_Latn", "spa_Latn")
    })  # fmt: skip
    labels = {
        "de": ("Frage:", "Schritt-für-Schritt-Antwort:"), "fr": ("Question :", "Réponse étape par étape :"),
        "en": ("Question:", "Step-by-Step Answer:"), "es": ("Pregunta:", "Respuesta paso a paso:"),
    }  # fmt: skip
    write_rows(root, "mgsm", {
        f"{code}/{part}.jsonl": [
            {
                "question": f"{labels[code][0] + ' ' if part == 'train' else ''}{code} p{start + n}?",
                "answer": f"{labels[code][1]} {code} a{start + n} = {n + 2}." if part == "train" else None,
                "answer_number": n + 2, "equation_solution": None,
            }
            for n in range(count)
        ]
        for code in labels for part, count, start in (("test", 4, 0), ("train", 8, 100))
    })  # fmt: skip
    ntrex = {"de": "deu", "fr": "fra", "en": "eng", "es": "spa"}
    write_rows(root, "ntrex", {
        f"{theirs}/test.jsonl": [{"id": n + 1, "text": f"{code} s{n}."} for n in range(6)]
        for code, theirs in ntrex.items()
    })  # fmt: skip
    (root / "muse").mkdir()
    for a, b in (("de", "fr"), ("de", "en"), ("en", "fr")):
        for part, start in (("0-5000", 100), ("5000-6500", 0)):
            lines = [f"{a}wort{start + n} {b}wort{start + n}\n" for n in range(5)]
            (root / "muse" / f"{a}-{b}.{part}.txt").write_text("".join(lines), encoding="utf-8")
    return root
