"""The page of a fine-tuning run, made from its files only."""

from __future__ import annotations

from bridgex.report.about_part import about, verdict_box
from bridgex.report.drift_part import drift
from bridgex.report.markup import Html, Section, document, join, tag
from bridgex.report.relations_part import relations
from bridgex.report.run_files import english
from bridgex.report.scatter_part import scatters
from bridgex.report.tables import number
from bridgex.report.train_run import TrainRun
from bridgex.report.train_words import finding, targets_of
from bridgex.report.transfer_part import controls, transfer

_FILES = (
    "config.yaml",
    "status.json",
    "metrics.json",
    "drift.jsonl",
    "answers.jsonl",
    "measures.jsonl",
    "log.jsonl",
)
_RECIPE = ("learning_rate", "batch_size", "epochs", "warmup_steps", "weight_decay", "max_length", "limit", "precision")


def train_page(run: TrainRun) -> str:
    """The page of a run of train.py in any state."""
    found = finding(run)
    box = verdict_box(found.kind, found.sign, found.sentence, found.remarks, run.problems, run.status)
    parts = [transfer(run), drift(run), scatters(run), relations(run), controls(run), _about(run)]
    names = [run.name("finetune")] if run.is_recipe else [run.name("task"), "+".join(run.sources), _model(run)]
    title = " ".join(filter(None, names)) or run.folder.name
    return document(f"{title} - bridgex", join(*_head(run), box), parts, has_script=run.metrics is not None)


def _head(run: TrainRun) -> list[Html]:
    metrics = run.metrics
    path = run.settings("model").get("path")
    facts = [
        metrics.task if metrics is not None else run.name("task"),
        f"{_model(run)} ({path})" if path else _model(run),
    ]
    if metrics is not None:
        facts += [
            "nothing frozen" if metrics.freeze == "none" else f"frozen: {metrics.freeze}",
            f"{metrics.steps:,} steps",
            f"{len(targets_of(metrics))} target languages",
        ]
    seed = run.config.get("seed") if metrics is None else metrics.seed
    facts += [f"seed {seed}"] if seed is not None else []
    if run.is_recipe:
        return [
            tag("h1", f"A model from nothing, by the recipe {run.name('finetune')}"),
            tag("p", f"seed {seed}", class_="quiet"),
        ]
    codes = "+".join(run.sources)
    names = " and ".join(english(code) for code in run.sources)
    title = f"Fine-tuned on {codes}: {names}" if codes and names != codes else f"Fine-tuned on {codes}"
    return [
        tag("h1", title if codes else run.folder.name),
        tag("p", " · ".join(fact for fact in facts if fact), class_="quiet"),
    ]


def _about(run: TrainRun) -> Section:
    facts: dict[str, str | None] = {}
    metrics = run.metrics
    if metrics is not None:
        facts = {
            "base fingerprint": metrics.base_fingerprint,
            "frozen": metrics.freeze,
            "steps": f"{metrics.steps:,}",
            "training loss": f"{number(metrics.loss)} (mean over the last twentieth of the steps)",
            "seed": str(metrics.seed),
            "drift": f"{metrics.pooling} pooling, {metrics.estimator} CKA",
            "distances": metrics.distances_origin,
        }
    recipe = run.settings("finetune")
    facts["recipe"] = ", ".join(
        f"{key.replace('_', ' ')} {recipe[key]}" for key in _RECIPE if recipe.get(key) is not None
    )
    return about(run.folder, run.status, run.config_text, _FILES, facts)


def _model(run: TrainRun) -> str:
    return run.metrics.model if run.metrics is not None else run.name("model")
