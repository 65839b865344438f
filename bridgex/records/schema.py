"""What a run writes, field by field; the files are the truth, and every table and page is made from them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Miss = Literal["truncated", "not_found", "wrong_language", "bad_bridge", "wrong"]
State = Literal["running", "done", "failed", "interrupted"]


class Record(BaseModel):
    """A frozen record; an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Step(Record):
    """One question to the model and what came back."""

    kind: Literal["bridge", "answer"] = Field(description="bridge: asks for the bridge text; answer: the last question")
    prompt: str = Field(description="exactly the text that the model was given, less the BOS token")
    output: str = Field(description="exactly the text that came back")
    num_tokens: int = Field(description="generated tokens")


class Option(Record):
    """One scored option of a multiple-choice item."""

    text: str = Field(description="the option")
    logprob: float = Field(description="sum of its tokens' log-probabilities, nats")
    num_tokens: int = Field(description="its tokens")


class Prediction(Record):
    """One line of predictions.jsonl: one item by one route."""

    id: str = Field(description="the item, unique within the run's data")
    route: str = Field(description="direct, translated, via <code>, via <code> (gold)")
    steps: list[Step] = Field(description="the questions in the order asked")
    options: list[Option] = Field(default_factory=list, description="scored tasks only")
    bridge_text: str | None = Field(None, description="the bridge text that was read from the bridge step")
    bridge_correct: bool | None = Field(
        None, description="whether it is a listed translation; null: nothing to compare"
    )
    answer: str | None = Field(None, description="the answer as parsed; null: none found")
    gold: list[str] = Field(description="right answers, any of which counts")
    correct: bool = Field(description="whether the answer counts")
    miss: Miss | None = Field(None, description="the first reason that holds; null: correct")


class RouteScore(Record):
    """The score of one route."""

    score: float = Field(description="share of right answers")
    ci95: tuple[float, float] = Field(description="95 % interval: Wilson, where items are independent")
    n: int = Field(description="items")
    misses: dict[str, int] = Field(description="number of items by reason")


class Metrics(Record):
    """metrics.json."""

    task: str
    pair: str
    model: str
    n: int = Field(description="items")
    metric: str = Field(description="what a score is")
    chance: float | None = Field(description="expected score of guessing; null: an open answer")
    majority: float = Field(description="score of always giving the most frequent right answer")
    routes: dict[str, RouteScore]
    chosen: str | None = Field(None, description="the chosen bridge language; null: none was chosen")
    chosen_by: str | None = Field(None, description="the strategy that chose it")
    paired: None = Field(None, description="direct against the chosen bridge on the same items; null: no bridge")
    oracle: None = Field(None, description="the best bridge in hindsight; null: not every candidate was evaluated")


class PreviewPrompt(Record):
    """One prompt as the model would be given it; the answer begins after the last token."""

    text: str
    ids: list[int]
    tokens: list[str] = Field(description="the tokens' own texts")


class Preview(Record):
    """What a dry run finds."""

    prompts: list[PreviewPrompt] = Field(description="the first ones")
    num_questions: int = Field(description="all of them")
    prompt_tokens: int = Field(description="of all questions")
    answer_tokens: int = Field(description="of all questions at most")
    hours: float = Field(description="at this machine's matrix-product rate, every answer at its longest")


class Status(Record):
    """status.json."""

    state: State
    config_hash: str = Field(description="eight hex digits of the resolved config")
    fingerprints: dict[str, str] = Field(default_factory=dict, description="model and data files, by SHA-256")
    notes: list[str] = Field(default_factory=list, description="what the run says of its data and model")
    error: str | None = None
    start: str = Field(description="ISO 8601, UTC")
    end: str | None = None
    host: str
    pid: int = Field(description="the process that writes or wrote here")
    pid_start: float | None = Field(None, description="when that process began, by the system's clock")
    versions: dict[str, str] = Field(default_factory=dict)
    git_revision: str | None = None
    device: str | None = None
