"""Runs that no model ever made: their files are written from numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bridgex.config.settings import to_yaml
from bridgex.records.claim import Owner
from bridgex.records.files import write_json, write_text
from bridgex.records.schema import (
    BridgeStep,
    CandidateRecord,
    MeasureRow,
    Metrics,
    OracleScore,
    Paired,
    Prediction,
    Ranking,
    RouteScore,
    State,
    Status,
    Step,
    StrategyRecord,
)

CANDIDATES = ("en", "it")
HELPS = Paired(difference=0.4, ci95=(0.15, 0.625), mcnemar_p=0.0063, verdict="bridge helps")


def status(state: State = "done", **fields: Any) -> Status:
    values: dict[str, Any] = {
        "config_hash": "0123abcd",
        "start": "2026-01-01T00:00:00.000+00:00",
        "end": "2026-01-01T00:01:00.000+00:00",
        "seconds": 60.0,
        "host": "elsewhere",
        "pid": 1,
        "versions": {"bridgex": "0.1.0"},
        "device": "cpu",
    }
    return Status(state=state, **{**values, **fields})


def config(pair: str = "de-fr", bridge: str = "compare", model: str = "m", **more: Any) -> dict[str, Any]:
    source, _, target = pair.partition("-")
    return {
        "model": {"name": model, "path": None},
        "pair": {"name": pair, "source": source, "target": target},
        "task": {"name": "bli"},
        "bridge": {"name": bridge},
        "probe": {"filter": "all"},
        "seed": 0,
        **more,
    }


def prediction(
    id: str,
    route: str,
    is_right: bool,
    output: str = '"non"',
    bridge_text: str | None = None,
    bridge_correct: bool | None = None,
) -> Prediction:
    steps = [Step(kind="answer", prompt=f'Deutsch:"{id}"→français:', output=output, num_tokens=3)]
    if bridge_text is not None:
        steps.insert(0, Step(kind="bridge", prompt=f'Deutsch:"{id}"→English:', output=bridge_text, num_tokens=2))
    return Prediction(
        id=id,
        route=route,
        steps=steps,
        bridge_text=bridge_text,
        bridge_correct=bridge_correct,
        answer="oui" if is_right else output.strip('"'),
        gold=["oui"],
        correct=is_right,
        miss=None if is_right else "bad_bridge" if bridge_correct is False else "wrong",
    )


def route_score(score: float, n: int = 10, **more: Any) -> RouteScore:
    wrong = n - round(score * n)
    return RouteScore(
        score=score, ci95=(max(0, score - 0.2), min(1, score + 0.2)), n=n, misses={"wrong": wrong}, **more
    )


def metrics(pair: str, direct: float, via: Mapping[str, float], chosen: str | None, **more: Any) -> Metrics:
    step = BridgeStep(n_known=10, correct=0.6, score_if_correct=0.5, score_if_wrong=0.25)
    values: dict[str, Any] = {
        "task": "bli",
        "pair": pair,
        "model": "m",
        "n": 10,
        "metric": "accuracy",
        "chance": None,
        "majority": 0.1,
        "routes": {
            "direct": route_score(direct),
            **{f"via {code}": route_score(score, bridge_step=step) for code, score in via.items()},
        },
        "chosen": chosen,
        "chosen_by": "hsic" if chosen is not None else None,
        "paired": HELPS if chosen is not None else None,
    }
    return Metrics(**{**values, **more})


def strategy(scores: Mapping[str, float], **more: Any) -> StrategyRecord:
    order = sorted(scores, key=lambda code: -scores[code])
    return StrategyRecord(
        scores={
            code: CandidateRecord(score=score, raw=score, rank=order.index(code) + 1) for code, score in scores.items()
        },
        **more,
    )


def hsic(scores: Mapping[str, float]) -> StrategyRecord:
    """A ranking with everything that a ranking can hold."""
    order = sorted(scores, key=lambda code: -scores[code])
    return StrategyRecord(
        scores={
            code: CandidateRecord(
                score=score,
                raw=score + 0.01,
                ci95=(score - 0.05, score + 0.05),
                rank=order.index(code) + 1,
                p_rank1=0.9 if order[0] == code else 0.1,
                p_any_dependence=0.002,
                block_scores={11: score, 12: score + 0.02},
                self_matches=0.75,
            )
            for code, score in scores.items()
        },
        blocks=[11, 12],
        set_sizes={"overlap": {11: 20, 12: 30}, **{code: {11: 41, 12: 52} for code in scores}},
        margin=0.1,
        margin_ci95=(0.05, 0.15),
        seconds=1.5,
    )


def write_status(folder: Path, state: Status) -> None:
    """Writes status.json, and of a running process its claim, without which it counts as gone."""
    write_json(folder / "status.json", state)
    if state.state == "running":
        own = {"host": state.host, "pid": state.pid, "pid_start": state.pid_start, "start": state.start}
        write_json(folder / ".owner.1", Owner(job=None, restarts=0, **own))


def write_run(
    folder: Path,
    state: Status | None = None,
    scores: Metrics | None = None,
    rankings: Mapping[str, StrategyRecord] | None = None,
    predictions: Sequence[Prediction] = (),
    settings: Mapping[str, Any] | None = None,
    chosen_by: str | None = "hsic",
) -> Path:
    """Writes a run's folder from records."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = config() if settings is None else settings
    pair = settings["pair"]["name"]
    write_text(folder / "config.yaml", to_yaml(settings))
    write_status(folder, state or status())
    if scores is not None:
        write_json(folder / "metrics.json", scores)
    if rankings is not None:
        candidates = next((list(found.scores) for found in rankings.values() if found.scores), [])
        chosen = scores.chosen if scores is not None else None
        ranking = Ranking(
            pair=pair, candidates=candidates, chosen=chosen, chosen_by=chosen_by, strategies=dict(rankings)
        )
        write_json(folder / "ranking.json", ranking)
    write_text(folder / "predictions.jsonl", "".join(found.model_dump_json() + "\n" for found in predictions))
    measured = MeasureRow(
        model="m", source="de", target="fr", bridge="en", block=None, site="mlp_act", pooling="mean",
        measure="hsic", estimator="normalised", value=0.6, n=1, seed=0,
    )  # fmt: skip
    write_text(folder / "measures.jsonl", measured.model_dump_json() + "\n")
    return folder


def compare_run(
    folder: Path,
    pair: str = "de-fr",
    direct: float = 0.3,
    via: Mapping[str, float] | None = None,
    rankings: Mapping[str, StrategyRecord] | None = None,
    chosen: str | None = "en",
    oracle: float = 0.7,
    **more: Any,
) -> Path:
    """A finished run of bridge=compare."""
    via = {"en": 0.7, "it": 0.2} if via is None else via
    if rankings is None:
        rankings = {
            "hsic": hsic(dict(zip(via, (0.6, 0.5), strict=False))),
            "overlap": strategy(dict(zip(via, (100.0, 120.5), strict=False))),
            "lexical": StrategyRecord(scores={}, missing="no dictionary de-it"),
        }
    regret = oracle - via[chosen] if chosen is not None else None
    best = max(via, key=lambda code: via[code])
    found = metrics(
        pair,
        direct,
        via,
        chosen,
        oracle=OracleScore(bridge=best, score=oracle, regret=regret, regret_with_direct=regret),
    )
    return write_run(folder, scores=found, rankings=rankings, settings=config(pair), **more)


def answers(direct: Sequence[bool], via: Mapping[str, Sequence[bool]]) -> list[Prediction]:
    """One prediction an item and route."""
    found = [prediction(f"w{place}", "direct", is_right) for place, is_right in enumerate(direct)]
    for code, right in via.items():
        found += [
            prediction(f"w{place}", f"via {code}", is_right, bridge_text="yes", bridge_correct=is_right)
            for place, is_right in enumerate(right)
        ]
    return found
