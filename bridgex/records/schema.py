"""What a run writes, field by field; the files are the truth, and every table and page is made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bridgex.records.seal import unsealed

if TYPE_CHECKING:
    from typing_extensions import Self

Miss = Literal["truncated", "not_found", "wrong_language", "bad_bridge", "wrong"]
State = Literal["running", "done", "failed", "interrupted"]


class Record(BaseModel):
    """A frozen record; an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """As pydantic's own, of a record with a checksum or without.

        Raises:
            ValidationError: it is no such record, or does not agree with its checksum.
        """
        content = json_data.encode() if isinstance(json_data, str) else bytes(json_data)
        return super().model_validate_json(unsealed(content, cls.__name__), **options)


class Step(Record):
    """One question to the model and what came back."""

    kind: Literal["bridge", "answer"] = Field(description="bridge: asks for the bridge text; answer: the last question")
    prompt: str = Field(description="exactly the text that the model was given, less the BOS token")
    output: str = Field(description="exactly the text that came back")
    num_tokens: int = Field(description="generated tokens")
    num_cut: int | None = Field(
        None, description="characters cut from the end of the context to fit the model's window; null: none"
    )


class Option(Record):
    """One scored option of a multiple-choice item."""

    text: str = Field(description="the option, as scored")
    logprob: float = Field(description="sum of its tokens' log-probabilities, nats")
    num_tokens: int = Field(description="its tokens")
    worth: float = Field(description="what is compared, the highest wins: logprob, divided as the form says")
    is_merged: bool | None = Field(
        None, description="true: its first token begins within the prompt, where the tokenizer joined the two"
    )


class Prediction(Record):
    """One line of predictions.jsonl: one item by one route."""

    id: str = Field(description="the item, unique within the run's data")
    group: str | None = Field(None, description="what items of one premise or passage have in common; null: by itself")
    route: str = Field(description="direct, translated, via <code>, via <code> (gold)")
    steps: list[Step] = Field(description="the questions in the order asked")
    options: list[Option] = Field(default_factory=list, description="scored tasks only")
    bridge_text: str | None = Field(None, description="the bridge text that was read from the bridge step")
    bridge_correct: bool | None = Field(
        None,
        description="of words and in the toy world, whether it is the listed translation; of texts, whether it is not "
        "in another language; null: nothing to compare",
    )
    answer: str | None = Field(None, description="the answer as parsed; null: none found")
    gold: list[str] = Field(description="right answers, any of which counts")
    correct: bool = Field(description="whether the answer counts; of sentences, whether it is an exact match")
    score: float | None = Field(None, description="0 to 1, where right and wrong is not all: the sentence's chrF")
    miss: Miss | None = Field(None, description="the first reason that holds; null: correct")


class BridgeStep(Record):
    """How the first step of a bridge route went, and what it was worth."""

    n_known: int = Field(description="items whose bridge text can be judged")
    correct: float | None = Field(
        description="share of those whose bridge text is a listed translation; of texts, is in the bridge language"
    )
    score_if_correct: float | None = Field(description="score of the items with a right bridge text")
    score_if_wrong: float | None = Field(description="score of the items with a wrong one")
    chrf: float | None = Field(
        None, description="mean chrF of the bridge text, 0 to 1, against the data's own text in the bridge language"
    )
    chrf_n: int = Field(
        0, description="items behind it: those that have such a text, a random part where they are many"
    )


class Calibration(Record):
    """Whether options are right as often as the model holds them likely."""

    error: float = Field(
        description="expected calibration error: mean over 10 bins of probability of |accuracy - probability|"
    )
    probability: float = Field(description="mean probability of the option taken, among the options")
    n_bins: int = 10


class CorpusScores(Record):
    """Scores of all sentences at once, as the field reports them, 0 to 1."""

    chrf: float
    chrf_signature: str
    bleu: float
    bleu_signature: str


class RouteScore(Record):
    """The score of one route."""

    score: float = Field(description="share of right answers; of sentences, mean chrF")
    ci95: tuple[float, float] = Field(
        description="95 % interval: Wilson's, where items are right or wrong and stand by themselves; else bootstrap, "
        "groups resampled whole, and Wilson's over groups where all of them score the same"
    )
    n: int = Field(description="items")
    misses: dict[str, int] = Field(description="number of items by reason")
    bridge_step: BridgeStep | None = Field(None, description="routes with a translation by the model only")
    exact: float | None = Field(None, description="of sentences, share of exact matches")
    corpus: CorpusScores | None = Field(None, description="of sentences")
    calibration: Calibration | None = Field(None, description="scored tasks only")
    num_cut: int = Field(0, description="items whose context was cut to fit the model's window")
    num_merged: int = Field(
        0, description="items with an option whose beginning the tokenizer joins to the prompt's end"
    )


class Paired(Record):
    """The chosen bridge against direct, on the same items."""

    difference: float = Field(description="via - direct")
    ci95: tuple[float, float] = Field(description="95 % bootstrap interval, groups resampled whole")
    mcnemar_p: float | None = Field(
        description="two-sided exact McNemar, which takes items for independent; null: scores by degree"
    )
    randomisation_p: float | None = Field(
        None,
        description="two-sided paired approximate randomisation, groups of items flipped whole: the verdict's test "
        "where items come in groups or are scored by degree",
    )
    is_grouped: bool = Field(False, description="whether items come in groups, such as three hypotheses of one premise")
    only_bridge: int | None = Field(None, description="items that only the bridge route has right")
    only_direct: int | None = Field(None, description="items that only the direct route has right")
    verdict: str = Field(description="bridge helps, bridge hurts, no evidence (at .05); marked where labels were used")


class OracleScore(Record):
    """The best bridge in hindsight, chosen on one half of the items and scored on the other, both ways."""

    bridge: str = Field(description="best on all items")
    score: float = Field(description="out of fold")
    regret: float | None = Field(description="oracle - chosen, never clipped; null: nothing was chosen without labels")
    regret_with_direct: float | None = Field(description="the same with direct among the oracle's choices")
    score_with_direct: float | None = Field(
        None, description="the oracle's score out of fold with direct among its choices"
    )


class Tested(Record):
    """A mean over items with its test."""

    mean: float
    ci95: tuple[float, float] | None = Field(
        description="95 % bootstrap interval, groups resampled whole; null: one group"
    )
    p: float = Field(description="two-sided paired approximate randomisation over items")


class AblatedRoute(Record):
    """What the last step of a route loses when neurons are held at their means."""

    logprob: float = Field(description="mean log-probability of a right answer, nothing held, nats")
    loss: Tested = Field(description="what holding the chosen neurons takes off it, nats")
    matched_loss: float | None = Field(description="the same of those that have a match; null: not compared")
    random_loss: float | None = Field(description="the same of random sets, mean over sets; null: not compared")


class Ablation(Record):
    """Does the last step of the bridge route need the neurons more than the direct question, and more than others?"""

    ablated: str = Field(description="overlap, bridge or both")
    bridge: str = Field(description="the chosen bridge")
    n: int = Field(description="items with a last question on both routes")
    num_left_out: int = Field(description="items without one: the model gave no bridge text")
    num_neurons: int = Field(description="neurons held")
    num_matched: int = Field(
        description="those of them with others of their block within .25 sd in activation share and mean"
    )
    num_random_sets: int = Field(
        description="random sets: each matched neuron or one of its matches; 0: too few different ones exist"
    )
    routes: dict[str, AblatedRoute] = Field(description="direct and the chosen bridge's")
    difference: Tested = Field(description="loss via the bridge - loss directly, the same items")
    above_random: Tested | None = Field(
        description="the same of the matched neurons, less its mean over the random sets; null: not compared"
    )
    p_random_sets: float | None = Field(
        description="two-sided: how many random sets differ as far, the matched set counted as one of them"
    )
    verdict: str


class Metrics(Record):
    """metrics.json."""

    task: str
    pair: str
    model: str
    n: int = Field(description="items")
    metric: str = Field(description="what a score is")
    chance: float | None = Field(description="expected score of guessing; null: an open answer")
    majority: float | None = Field(
        description="score of always giving the most frequent right answer; null: answers are right by degree"
    )
    routes: dict[str, RouteScore]
    chosen: str | None = Field(None, description="the chosen bridge language; null: none was chosen")
    chosen_by: str | None = Field(None, description="the strategy that chose it")
    chose_direct: bool = Field(False, description="whether that strategy chose to go directly, through no bridge")
    paired: Paired | None = Field(
        None, description="direct against the chosen bridge on the same items; null: no bridge"
    )
    against_translated: Paired | None = Field(
        None,
        description="the context put straight into the target language against the chosen bridge, on the same items: "
        "the fair opponent of every route in two steps; null: no bridge, or a task without a context",
    )
    oracle: OracleScore | None = Field(None, description="null: not every candidate was evaluated")
    ablation: Ablation | None = Field(None, description="null: task.ablate was not asked for, or no bridge was chosen")


class CandidateRecord(Record):
    """One candidate in one strategy's ranking."""

    score: float = Field(description="what is ranked; for hsic, raw less what chance gives")
    raw: float = Field(description="before the chance correction")
    ci95: tuple[float, float] | None = Field(None, description="95 % interval of score over source words; null: none")
    rank: int = Field(description="1 is best; ties are broken by the candidates' order")
    p_rank1: float | None = Field(None, description="share of replicates in which it is best")
    influence_ci95: tuple[float, float] | None = Field(
        None, description="95 % interval of score over source words from influence functions, without resampling"
    )
    p_any_dependence: float | None = Field(
        None, description="share of shifts that score as high: any dependence at all"
    )
    p_any_dependence_corrected: float | None = Field(None, description="Holm's, over the candidates")
    matched: float | None = Field(
        None, description="share of its neurons for which others of their block answer as often to source and target"
    )
    without_self_matches: float | None = Field(
        None, description="raw score of those neurons, matches of a neuron with itself left out"
    )
    random_neurons: float | None = Field(None, description="the same of random neurons that answer as often")
    p_neuron_null: float | None = Field(
        None, description="share of sets of such neurons, its own included, that score as high; null: too few sets"
    )
    p_neuron_null_corrected: float | None = Field(None, description="Holm's, over the candidates")
    smaller_leg: float | None = Field(None, description="the smaller of source-bridge and bridge-target")
    block_scores: dict[int, float] | None = Field(None, description="raw score by block")
    self_matches: float | None = Field(None, description="share of overlap neurons that are this candidate's too")


class AgainstDirect(Record):
    """A strategy's first choice against going directly, by what can be seen without labels."""

    bridge: str = Field(description="the first-ranked candidate")
    gain: float = Field(
        description="via it, in its less sure step, - direct: log-probability a token, mean over probe words, nats"
    )
    ci95: tuple[float, float] = Field(description="its 95 % bootstrap interval, the same words for both")
    margin: float = Field(description="bridge.margin: what the interval's lower end must exceed for the bridge")
    chose_direct: bool = Field(description="whether it does not")


class StrategyRecord(Record):
    """One strategy's ranking."""

    scores: dict[str, CandidateRecord] = Field(description="by candidate; empty where the strategy is missing")
    ties: list[list[str]] = Field(default_factory=list, description="candidates with equal scores")
    blocks: list[int] = Field(default_factory=list, description="blocks that counted")
    set_sizes: dict[str, dict[int, int]] = Field(default_factory=dict, description="neurons by set and block")
    margin: float | None = Field(None, description="best score less the runner-up's")
    margin_ci95: tuple[float, float] | None = Field(None, description="its 95 % interval over source words")
    num_samples: int | None = Field(
        None, description="words, sentences or items behind the scores; null: made from profiles, word lists, distances"
    )
    origin: str | None = Field(None, description="what it looked at: data set, package and version, block")
    uses_dictionary: bool = Field(
        False, description="whether it looked at translations of the probe words; evaluated items are none of them"
    )
    against_direct: AgainstDirect | None = Field(None, description="strategies that may choose to go directly")
    seconds: float = Field(0.0, description="wall time, gathering of evidence included")
    missing: str | None = Field(None, description="why there is no ranking")


class Ranking(Record):
    """ranking.json."""

    pair: str
    candidates: list[str]
    chosen: str | None
    chosen_by: str | None
    chose_direct: bool = Field(False, description="whether that strategy chose to go directly, through no bridge")
    strategies: dict[str, StrategyRecord]


class MeasureRow(Record):
    """One line of measures.jsonl, the long table of both studies."""

    model: str
    source: str
    target: str
    bridge: str | None
    block: int | None
    site: str = Field(description="where it was read: mlp_act, hidden")
    pooling: str = Field(description="tokens to one vector: mean, last, cls")
    measure: str
    estimator: str | None
    value: float
    n: int | None = Field(description="words or items behind the value; null: not made from words")
    seed: int


class PreviewOption(Record):
    """One option as it would be scored behind its prompt."""

    text: str
    tokens: list[str] = Field(description="its tokens' own texts")
    is_merged: bool = Field(description="whether the first of them holds the end of the prompt, too")


class PreviewPrompt(Record):
    """One prompt as the model would be given it; the answer, or each option, begins after the last token."""

    text: str
    ids: list[int]
    tokens: list[str] = Field(description="the tokens' own texts")
    options: list[PreviewOption] = Field(default_factory=list, description="scored tasks only")


class Preview(Record):
    """What a dry run finds."""

    prompts: list[PreviewPrompt] = Field(description="the first ones")
    routes: list[str] = Field(description="what is counted; a bridge that is not chosen yet is the first candidate")
    num_questions: int = Field(description="all of them")
    prompt_tokens: int = Field(description="of all questions; a bridge text counts as long as what it translates")
    answer_tokens: int = Field(description="of all questions at most, and of all options")
    hours: float = Field(description="at this machine's matrix-product rate, every answer at its longest")


class Status(Record):
    """status.json."""

    state: State
    config_hash: str = Field(description="eight hex digits of the resolved config")
    fingerprints: dict[str, str] = Field(default_factory=dict, description="model and data files, by SHA-256")
    inputs: str | None = Field(None, description="hash of names, sizes and times of the files that the config names")
    notes: list[str] = Field(default_factory=list, description="what a reader of the results must know")
    details: list[str] = Field(default_factory=list, description="what was checked and found as it should be")
    error: str | None = None
    start: str = Field(description="ISO 8601, UTC")
    resumed: str | None = Field(None, description="when the process that worked here last began; null: in old records")
    end: str | None = None
    seconds: float | None = Field(
        None, description="that processes worked here, less those that were killed; null: none has ended yet"
    )
    host: str
    pid: int = Field(description="the process that writes or wrote here")
    pid_start: float | None = Field(None, description="when that process began, by the system's clock")
    versions: dict[str, str] = Field(default_factory=dict)
    git_revision: str | None = None
    device: str | None = None


class SummaryRow(Record):
    """One cell of a sweep."""

    cell: str = Field(description="its folder's name")
    state: State
    model: str
    pair: str
    task: str
    bridge: str
    scores: dict[str, float] = Field(description="by route; empty until the cell is done")
    chosen: str | None = Field(description="the bridge; null where none was chosen, or to go directly was")
    chose_direct: bool = Field(False, description="whether the strategy chose to go directly")
    verdict: str | None
    seconds: float | None = Field(description="that processes worked at it, less those that were killed")
    error: str | None


class Summary(Record):
    """summary.json of a sweep."""

    cells: list[SummaryRow]
