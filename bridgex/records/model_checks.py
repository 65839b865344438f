"""What was found out about reading the neurons of a model or of a family of models; shown, not kept in a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bridgex.records.schema import Record


class NeuronSite(Record):
    """Where a model's neurons are read, and what the self-check measured there."""

    num_blocks: int
    num_neurons: list[int] = Field(description="of each block")
    path: str = Field(description="of the activation function within the backbone, with * for the block")
    function: str = Field(description="class of the activation function")
    projection: str = Field(description="name of the projection that the activation function is applied to")
    is_gated: bool = Field(description="whether a second projection is multiplied in before the last one")
    cannot_pack: str | None = Field(description="why batches hold texts of one length; null: any lengths are packed")
    recomputed_difference: float | None = Field(
        description="between neurons read and recomputed, relative; null: not recomputed"
    )
    batch_difference: float = Field(description="between neurons read in a batch and one text at a time, relative")
    notes: list[str] = Field(description="the self-check's own words")


class FamilyCheck(Record):
    """One family of models, tried out on a tiny random model of it."""

    family: str = Field(description="model_type of its configs")
    ready: list[str] = Field(description="names of the ready configs (model=NAME) of this family")
    state: Literal["verified", "refused", "not verified"] = Field(
        description="refused: as it must be, since the family has no such neurons"
    )
    site: NeuronSite | None = Field(description="null: refused, or not verified")
    reason: str | None = Field(description="why it is refused or not verified; null: verified")
