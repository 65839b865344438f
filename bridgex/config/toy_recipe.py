"""Every number from which the toy world's languages, data files and model are made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]

LineKind = Literal["word", "chain", "mono", "mt", "retell", "nli", "mrc"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WorldRecipe(_Part):
    """The vocabulary and the laws that make twelve languages of four families."""

    num_nouns: Size = Field(72, description="concepts that can be subject or object")
    num_verbs: Size = Field(24, description="concepts that join a subject and an object")
    num_adjectives: Count = Field(24, description="concepts that are only ever translated as single words")
    test_nouns: Size = Field(14, description="nouns that no weak pair is ever trained on")
    test_verbs: Size = Field(5, description="verbs that no weak pair is ever trained on")
    test_adjectives: Count = Field(5, description="adjectives that no weak pair is ever trained on")
    family_consonants: Annotated[int, Field(ge=2, le=20)] = Field(11, description="of 20 consonants, those of a family")
    shifted_consonants: Count = Field(4, description="consonants that a sound law passes round")
    shifted_vowels: Annotated[int, Field(ge=0, le=6)] = Field(
        2, description="of 6 vowels, those a sound law passes round"
    )
    replaced_share: Share = Field(0.10, description="share of a daughter language's words that are new, not inherited")
    loan_share: Share = Field(0.25, description="share of a low language's words borrowed from its contact hub")

    @model_validator(mode="after")
    def _consistent(self) -> WorldRecipe:
        for name in ("nouns", "verbs", "adjectives"):
            tested, known = getattr(self, f"test_{name}"), getattr(self, f"num_{name}")
            if tested > known:
                raise ValueError(f"test_{name}={tested} is more than num_{name}={known}")
        if self.shifted_consonants > self.family_consonants:
            raise ValueError(
                f"shifted_consonants={self.shifted_consonants} is more than family_consonants={self.family_consonants}"
            )
        return self

    @property
    def num_concepts(self) -> int:
        """Nouns, verbs and adjectives together."""
        return self.num_nouns + self.num_verbs + self.num_adjectives


class CoverageRecipe(_Part):
    """Share of the concepts that have training lines over a pair, by what the two languages are to each other."""

    hub_hub: Share = Field(1.0, description="two hubs")
    hub_moderate_same: Share = Field(1.0, description="a hub and the moderate language of its family")
    hub_moderate_other: Share = Field(0.6, description="a hub and a moderate language of another family")
    moderate_moderate: Share = Field(0.4, description="two moderate languages")
    low_hub_same: Share = Field(0.9, description="a low language and the hub of its family")
    low_hub_contact: Share = Field(0.8, description="a low language and the hub it borrows from")
    low_hub_other: Share = Field(0.12, description="a low language and any other hub")
    low_moderate_same: Share = Field(0.4, description="a low and the moderate language of one family")
    low_moderate_other: Share = Field(0.06, description="a low and a moderate language of two families")
    low_low: Share = Field(0.03, description="two low languages")
    strong_from: Share = Field(
        0.5, description="from this share on a pair is strong; below, test concepts are held out"
    )


class LinesRecipe(_Part):
    """What a training line looks like and how many of them make a batch."""

    word: Size = Field(200, description="lines per batch: a word and its translation")
    chain: Size = Field(128, description="lines per batch: a word, its translation into a bridge, and from there on")
    mono: Size = Field(128, description="lines per batch: two facts in one language")
    mt: Size = Field(110, description="lines per batch: a sentence and its translation")
    nli: Size = Field(110, description="lines per batch: a premise with two hypotheses and their labels")
    retell: Size = Field(56, description="lines per batch: four facts told again in another order")
    mrc: Size = Field(60, description="lines per batch: a passage of four facts with two questions")
    short_factors: tuple[Rate, Rate, Rate] = Field(
        (2.2, 1.6, 1.25), description="retell and mrc: so many times the lines where there are 1, 2, 3 facts"
    )
    source_weight: Share = Field(0.1, description="loss weight of the given side of a translation; the answer has 1")
    negated_share: Share = Field(0.4, description="mono and mt: share of facts that are denied")
    question_share: Share = Field(0.2, description="mt: share of lines that are questions")
    mt_chain_share: Share = Field(0.2, description="mt: share of lines that go through a bridge; every pair strong")
    low_pair_weight: Share = Field(0.7, description="mt: how often a pair with a low language is drawn; others have 1")
    mono_weights: tuple[Rate, Rate, Rate] = Field(
        (3.0, 2.0, 1.0), description="mono: how often a hub, moderate, low language is drawn"
    )


class FilesRecipe(_Part):
    """How much test data is written."""

    ntrex_sentences: Size = Field(300, description="parallel sentences of non-test words, for neuron profiles")
    flores_sentences: Size = Field(200, description="parallel sentences of test words, for translation")
    xnli_premises: Size = Field(80, description="premises of the test part; each has three rows, one a label")
    xnli_validation_premises: Size = Field(20, description="premises of the validation part")
    xnli_train_premises: Size = Field(500, description="premises of the part to fine-tune on, of non-test words")
    belebele_passages: Size = Field(120, description="passages of four facts, one question each")


class ModelRecipe(_Part):
    """The small Llama and its planted heads."""

    blocks: Size = Field(5, description="transformer blocks")
    hidden_size: Size = Field(96, description="width")
    intermediate_size: Size = Field(256, description="neurons of a block")
    heads: Size = Field(4, description="attention heads of a block")
    max_positions: Size = Field(512, description="longest input in tokens")
    rope_theta: Rate = Field(100.0, description="base of the rotary angles; small, since lines are short")
    init_std: Rate = Field(0.02, description="standard deviation of the first weights")
    planted_lookback: tuple[tuple[Size, ...], ...] = Field(
        ((1, 2, 3, 1), (1, 2)), description="per block from the first: how many tokens back each planted head looks"
    )
    planted_strength: Rate = Field(4.0, description="size of the biases that make a head look back")
    planted_rotary_pairs: Size = Field(4, description="fastest rotary pairs of a head that carry these biases")

    @model_validator(mode="after")
    def _consistent(self) -> ModelRecipe:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size={self.hidden_size} must be a multiple of 2 x heads={2 * self.heads}")
        if self.planted_rotary_pairs > self.hidden_size // self.heads // 2:
            raise ValueError(f"planted_rotary_pairs={self.planted_rotary_pairs} is more than a head has")
        if len(self.planted_lookback) > self.blocks or any(len(row) > self.heads for row in self.planted_lookback):
            raise ValueError(f"planted_lookback={self.planted_lookback} names more blocks or heads than there are")
        return self


class OptimiserRecipe(_Part):
    """What both training stages have in common."""

    muon_momentum: Share = Field(0.95, description="Muon (2-D weights of the blocks): momentum")
    muon_weight_decay: Annotated[float, Field(ge=0)] = Field(0.05, description="Muon: weight decay")
    muon_steps: Size = Field(4, description="Muon: Newton-Schulz iterations")
    adamw_betas: tuple[Share, Share] = Field((0.9, 0.98), description="AdamW (embeddings, norms, biases): betas")
    clip_norm: Rate = Field(1.0, description="largest norm of the gradient")


class StageRecipe(_Part):
    """One training stage: warm-up, constant rate, linear decay to 0."""

    steps: Size = Field(description="optimiser steps")
    muon_rate: Rate = Field(description="learning rate of Muon")
    adamw_rate: Rate = Field(description="learning rate of AdamW")
    warmup_steps: Count = Field(description="steps until the full rate")
    decay_share: Share = Field(0.5, description="last share of the steps, over which the rate falls to 0")


class MixRecipe(_Part):
    """How often each kind of line makes a batch."""

    word: Share = Field(description="words")
    chain: Share = Field(description="words by way of a bridge")
    mono: Share = Field(description="facts in one language")
    mt: Share = Field(description="sentences")
    retell: Share = Field(description="facts told again")
    nli: Share = Field(description="premises and hypotheses")
    mrc: Share = Field(description="passages and questions")
    mrc_facts: tuple[Share, Share, Share, Share] = Field(description="mrc: share of passages with 1, 2, 3, 4 facts")

    @model_validator(mode="after")
    def _sums_to_one(self) -> MixRecipe:
        kinds = self.word + self.chain + self.mono + self.mt + self.retell + self.nli + self.mrc
        for name, total in (("the kinds of line", kinds), ("mrc_facts", sum(self.mrc_facts))):
            if abs(total - 1) > 1e-9:
                raise ValueError(f"the shares of {name} sum to {total:.4g}; make it 1")
        return self


class ToyRecipe(_Part):
    """The whole recipe; with a seed it gives the data byte for byte, and the weights on one machine and torch build.

    Example:
        >>> ToyRecipe().world.num_concepts
        120
    """

    name: Annotated[str, Field(pattern=r"^[\w.+-]+$")] = Field("toy_world", description="stands in folder names")
    num_threads: Size = Field(1, description="CPU threads of the training; another number gives other weights")
    world: WorldRecipe = Field(default_factory=WorldRecipe, description="words and sound laws")
    coverage: CoverageRecipe = Field(default_factory=CoverageRecipe, description="what is trained over which pair")
    lines: LinesRecipe = Field(default_factory=LinesRecipe, description="training lines")
    files: FilesRecipe = Field(default_factory=FilesRecipe, description="test data")
    model: ModelRecipe = Field(default_factory=ModelRecipe, description="the model")
    optimiser: OptimiserRecipe = Field(default_factory=OptimiserRecipe, description="the optimisers")
    circuit_stage: StageRecipe = Field(
        StageRecipe(steps=300, muon_rate=1e-2, adamw_rate=5e-3, warmup_steps=30),
        description="first stage: retell lines only, which turn the planted heads into in-context matching",
    )
    language_stage: StageRecipe = Field(
        StageRecipe(steps=2800, muon_rate=6e-3, adamw_rate=4e-3, warmup_steps=50),
        description="second stage: all kinds of line, one kind a batch, with new optimisers",
    )
    first_mix: MixRecipe = Field(
        MixRecipe(
            word=0.36,
            chain=0.06,
            mono=0.02,
            mt=0.26,
            retell=0.12,
            nli=0.09,
            mrc=0.09,
            mrc_facts=(0.5, 0.3, 0.1, 0.1),
        ),
        description="first half of the second stage",
    )
    second_mix: MixRecipe = Field(
        MixRecipe(
            word=0.14,
            chain=0.16,
            mono=0.02,
            mt=0.26,
            retell=0.06,
            nli=0.18,
            mrc=0.18,
            mrc_facts=(0.1, 0.2, 0.25, 0.45),
        ),
        description="second half of the second stage",
    )
