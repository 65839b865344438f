"""What is evaluated is seen, whole or in part; what is not, is not."""

from __future__ import annotations

import json
from pathlib import Path

from bridgex.data.evaluated import Evaluated

SENTENCE = "The ducks lay sixteen eggs per day."


def test_whole_texts_whatever_their_white_space() -> None:
    found = Evaluated(["a  short\none", SENTENCE])
    for text in ("a short one", " a short\tone ", SENTENCE):
        assert text in found
    for text in ("a short", "another", "", None, 5, SENTENCE[:-1] + "!"):
        assert text not in found
    assert "" not in Evaluated()


def test_a_sentence_within_an_evaluated_passage() -> None:
    found = Evaluated([f"It was so. {SENTENCE}\nAnd then?"])
    assert SENTENCE in found
    assert "The ducks  lay sixteen eggs" in found
    assert "It was so." not in found, "short texts stand within others by chance"


def test_a_passage_that_holds_an_evaluated_sentence() -> None:
    found = Evaluated(["day", SENTENCE, "x" * 500])
    assert f"It was so. {SENTENCE} And then?" in found
    assert "A day that held none of the sentences evaluated." not in found


def test_flores_sentences_are_seen_in_belebele_passages(test_data: Path) -> None:
    import pyarrow.parquet

    passages = pyarrow.parquet.read_table(test_data / "belebele" / "eng_Latn" / "test.parquet")["flores_passage"]
    lines = (test_data / "flores" / "eng_Latn" / "devtest.jsonl").read_text(encoding="utf-8").splitlines()
    sentences = [json.loads(line)["sentence"] for line in lines]
    in_passages, in_flores = Evaluated(passages.to_pylist()), Evaluated(sentences)
    assert sum(sentence in in_passages for sentence in sentences) > 400
    assert sum(passage in in_flores for passage in passages.to_pylist()) > 200
