"""What a run of train.py writes, field by field."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bridgex.records.schema import MeasureRow, Record

RelationName = Literal["drift ~ distance", "drift ~ transfer", "distance ~ transfer"]


class LabelRecord(Record):
    """One line of answers.jsonl: one test pair, classified by one model."""

    language: str
    model: str = Field(description="fine-tuned, untrained (the same model with a new head), hypothesis-only")
    id: str = Field(description="the item, the same in every language")
    group: str = Field(description="what items of one premise have in common")
    answer: int = Field(description="number of the class it chose")
    gold: int = Field(description="number of the right class")


class DriftRecord(Record):
    """One line of drift.jsonl: how far one language's representations have moved by some step."""

    language: str
    step: int = Field(description="optimiser steps so far")
    pooling: str = Field(description="tokens to one vector: cls, mean, last")
    n: int = Field(description="sentence pairs")
    unbiased: list[float | None] = Field(
        description="1 - CKA of every block, from block 0 (embeddings); null: a side does not vary"
    )
    biased: list[float | None] = Field(description="the same by the biased estimator, as published")
    top_row_share: list[float | None] = Field(
        description="share of each block's biased HSIC that a single pair makes, at most"
    )


class Measured(Record):
    """What one model did in one language at one step: the unit that a killed run does not do again."""

    language: str
    model: str = Field(description="fine-tuned, untrained, hypothesis-only")
    step: int
    answers: list[LabelRecord] = Field(description="empty before the last step")
    drift: list[DriftRecord] = Field(description="one for each pooling; empty for the controls")


class TrainMeasureRow(MeasureRow):
    """One line of measures.jsonl of train.py."""

    freeze: str = Field(description="none, or what was frozen")


class TransferScore(Record):
    """How well the fine-tuned model does in one language."""

    score: float = Field(description="share of right answers")
    ci95: tuple[float, float] = Field(description="95 % interval: groups of items resampled whole")
    n: int = Field(description="items")
    gap: float | None = Field(
        description="transfer gap: score of the source language - this one; null: a source itself"
    )
    gap_ci95: tuple[float, float] | None = Field(
        None, description="its 95 % interval over items, the same ones in both languages"
    )


class Controls(Record):
    """What a score and a drift must be seen beside, by language."""

    chance: float = Field(description="score of guessing")
    majority: float = Field(description="score of always giving the class that is most frequent in training")
    untrained: dict[str, float] = Field(description="score of the same model with a new head, before any training")
    hypothesis_only: dict[str, float] | None = Field(
        None, description="score of a second model that never sees a premise; null: not trained"
    )
    fertility: dict[str, float] = Field(
        description="mean tokens of a pair before any is cut: pairs are the same in every language, words cannot be "
        "counted the same way"
    )
    num_cut: dict[str, int] = Field(description="pairs that were longer than finetune.max_length and cut")
    alignment: dict[str, dict[int, float]] = Field(
        default_factory=dict,
        description="CKA of the base model's representations of the same items in the source language and in this one, "
        "by block",
    )
    profile_similarity: dict[str, float] = Field(
        default_factory=dict, description="share of language neurons that this language has in common with the source"
    )
    hsic: dict[str, float] = Field(
        default_factory=dict,
        description="normalised HSIC of this language's neurons with the source's over sentences of the source, before "
        "fine-tuning, less what chance gives",
    )


class RelationRecord(Record):
    """One correlation over the target languages."""

    relation: RelationName
    kind: str = Field(description="kind of distance (syntactic, ...); of drift ~ transfer: transfer")
    block: int | None = Field(description="block of the drift; null: no drift in this relation")
    pooling: str | None = Field(description="tokens to one vector; null: no drift in this relation")
    spearman: float
    ci95: tuple[float, float] | None = Field(description="95 % interval of spearman (Bonett and Wright 2000)")
    pearson: float
    pearson_ci95: tuple[float, float] | None = Field(None, description="95 % interval of pearson (Fisher)")
    p: float = Field(description="two-sided, languages permuted")
    p_corrected: float = Field(
        description="Westfall-Young max-|r| over all blocks and kinds of this relation and pooling"
    )
    p_holm: float = Field(description="Holm over the same")
    n: int = Field(description="languages")
    range: tuple[float, float] = Field(description="least and greatest spearman with one language left out")
    partial: float | None = Field(None, description="spearman with subword fertility taken out; null: cannot be")


class TrainMetrics(Record):
    """metrics.json of train.py."""

    task: str
    model: str
    source: str = Field(description="code; several are joined with +")
    seed: int
    freeze: str = Field(description="none, or what was frozen: embeddings, blocks 1 2 3")
    steps: int = Field(description="optimiser steps")
    loss: float = Field(description="mean training loss over the last twentieth of the steps")
    metric: str = "accuracy"
    transfer: dict[str, TransferScore] = Field(
        description="by language, sources first; relations to transfer are to the score"
    )
    pooling: str = Field(description="of the drift below; the first of drift.pooling")
    estimator: str = "unbiased"
    drift: dict[str, dict[int, float]] = Field(
        description="1 - CKA by language and block (0: embeddings), before against after; missing blocks left out"
    )
    controls: Controls
    distances: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="by kind and language, from the source (the mean over several)"
    )
    distances_origin: str | None = Field(None, description="where distances come from; null: there are none")
    relations: list[RelationRecord] = Field(default_factory=list)
    depth: float | None = Field(
        None, description="Spearman of block and drift, mean over languages; null: fewer than 3 blocks"
    )
    unreported: list[str] = Field(
        default_factory=list, description="languages that chose the frozen blocks, left out of relations and means"
    )
    base_fingerprint: str = Field(description="SHA-256 of the files of the model before fine-tuning")
    survives: str = Field(description="one sentence: what of the relations holds after correction")
