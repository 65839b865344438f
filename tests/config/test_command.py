"""Mistakes on the command line: one line each, all at once, with what is allowed and what is near."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.config import command, settings
from bridgex.errors import UserError


def problems(*overrides: str, is_multirun: bool = False) -> list[str]:
    with pytest.raises(UserError) as caught:
        command.check("evaluate", overrides, settings.validate, is_multirun=is_multirun)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "model=lama3",
            "model=lama3: not allowed (nearest: llama3). "
            "Allowed: bloom, gemma3, hf, llama3, llama3_1, mbert, mdeberta, mistral, qwen3, random, toy, xglm, "
            "xlmr_base, xlmr_large",
        ),
        (
            "pear=de-fr",
            "pear: no such key, did you mean pair? Allowed here: bridge, cache, callbacks, data, engine, experiment, "
            "logger, model, pair, probe, seed, sweep, task, trainer",
        ),
        ("probe.neuron_share=7", "probe.neuron_share=7: should be less than or equal to 0.5"),
        ("probe.depth=[0.7,0.2]", "probe.depth=[0.7, 0.2]: should be [low, high] with 0 <= low < high <= 1"),
        (
            "bridge.language=tlh",
            "bridge.language=tlh: no language 'tlh' (did you mean tl or th?).",
        ),
        (
            "bridge.hsic.estimator=paperr",
            "bridge.hsic.estimator=paperr: not allowed (nearest: paper). Allowed: normalised, unbiased, biased, paper",
        ),
        (
            "bridge=hsik",
            "bridge=hsik: not allowed (nearest: hsic). "
            "Allowed: alignment, compare, confidence, convergence, cosine, fixed, hsic, hsic_or_direct, lexical, none, "
            "oracle, overlap, random, typology",
        ),
        ("pair=qaa-qaa", "pair 'qaa-qaa': source and target are the same. Choose two different languages."),
        ("seed=-1", "seed=-1: should be greater than or equal to 0"),
        ("task.limit=0", "task.limit=0: should be greater than or equal to 1"),
        ("task.limit=few", "task.limit=few: should be a valid integer, unable to parse string as an integer"),
        (
            "task.limt=3",
            "task.limt: no such key, did you mean limit? "
            "Allowed here: ablate, chain, dry_run, limit, max_tokens, name, prompt",
        ),
        (
            "model.dtype=floot16",
            "model.dtype=floot16: not allowed (nearest: float16, bfloat16). Allowed: auto, float32, bfloat16, float16",
        ),
        ("task.prompt='{word}{x}'", "task.prompt={word}{x}: may name {source} {target} {word} only, found 'x'"),
        (
            "task.prompt=[",
            "task.prompt=[: cannot be read. Write key=value; quote values that hold spaces, commas or brackets",
        ),
        ("pair=de-fr,en-de", "pair=de-fr,en-de: several values are a sweep. Add -m, or give one value"),
        (
            "task._target_=no.such.Class",
            "task._target_=no.such.Class: cannot be imported (No module named 'no'). Check the path and PYTHONPATH",
        ),
        (
            "+colour=red",
            "colour: no such key. Allowed here: bridge, cache, callbacks, data, engine, logger, model, pair, "
            "probe, seed, sweep, task, trainer",
        ),
        (
            "experiment=toy_world",
            "experiment=toy_world: does not fit evaluate.py. "
            "In 'experiment/toy_world': Could not override 'finetune'. No match in the defaults list.",
        ),
    ],
)
def test_one_mistake_is_one_line(override: str, line: str) -> None:
    assert problems(override) == [line]


def test_text_of_an_unknown_language_is_refused() -> None:
    (line,) = problems("++data.text.xx=f")
    assert line.startswith("data.text={'xx': 'f'}: no language 'xx'.")


def test_all_mistakes_of_a_command_come_at_once() -> None:
    found = problems("pair=xx-en", "model=nope", "seed=-1", "task.limit=0", "engine.batch_tokens=many")
    assert [line.split(":")[0].split("=")[0] for line in found] == [
        "pair 'xx-en'",
        "model",
        "task.limit",
        "engine.batch_tokens",
        "seed",
    ]


def test_a_refused_choice_is_not_blamed_on_the_pair() -> None:
    """With model=lama3 refused, the default toy model stands in: its dislike of real languages is not the user's."""

    def agree(config: command.Config) -> None:
        raise UserError("pair: model=toy speaks its own invented languages only")

    with pytest.raises(UserError) as caught:
        command.check("evaluate", ["model=lama3", "pair=en-sw"], settings.validate, agree)
    assert len(caught.value.problems) == 1


def test_every_cell_of_a_sweep_is_checked_in_hydras_order(tmp_path: Path) -> None:
    overrides = ["model=random", "pair=de-fr,en-de", "seed=0,1", f"hydra.sweep.dir={tmp_path}"]
    cells = command.check("evaluate", overrides, settings.validate, is_multirun=True)
    assert [(cell.config["pair"]["name"], cell.config["seed"]) for cell in cells] == [
        ("de-fr", 0),
        ("de-fr", 1),
        ("en-de", 0),
        ("en-de", 1),
    ]
    assert len({cell.folder for cell in cells}) == 4
    assert all(cell.folder.name.startswith(f"random_{cell.config['pair']['name']}_bli_hsic_") for cell in cells)
    (line,) = problems("pair=de-fr,en-xx", is_multirun=True)
    assert "no language 'xx'" in line


def test_a_users_own_folder_of_choices_is_found(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("kind: hf\nname: mine\npath: me/mine\n")
    (cell,) = command.check("evaluate", ["model=mine"], settings.validate, user_dir=str(tmp_path))
    assert cell.config["model"]["name"] == "mine"


def test_a_users_own_class_is_checked_by_its_constructor() -> None:
    base = "task._target_=tests.fakes.own_task.OwnTask"
    assert problems(base, "task.name=own", "~task.max_tokens", "~task.prompt", "~task.chain", "task.loud=quiet") == [
        "task.loud=quiet: should be a valid boolean, unable to interpret input"
    ]
    command.check(
        "evaluate",
        [base, "task.name=own", "~task.max_tokens", "~task.prompt", "~task.chain", "+task.loud=true"],
        settings.validate,
    )


def test_the_hash_ignores_what_changes_no_number() -> None:
    def hash_with(*overrides: str) -> str:
        (cell,) = command.check("evaluate", overrides, settings.validate)
        return settings.config_hash(cell.config)

    plain = hash_with()
    assert len(plain) == 8
    assert plain == hash_with(
        "trainer=cpu", "engine.batch_tokens=7", "cache.dir=elsewhere", "~callbacks.progress", "sweep.name=x"
    )
    assert plain != hash_with("seed=1")
    assert plain != hash_with("task.limit=5")
    assert plain != hash_with("model.path=x/y")
