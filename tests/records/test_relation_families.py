from __future__ import annotations

from bridgex.records.relation_families import relation_families


def test_families_are_what_is_corrected_together() -> None:
    found = relation_families({1: [1.0], 2: [2.0]}, [3.0], {"near": [4.0], "far": [5.0]})
    assert found["drift ~ distance"] == {
        ("near", 1): ([1.0], [4.0]), ("near", 2): ([2.0], [4.0]),
        ("far", 1): ([1.0], [5.0]), ("far", 2): ([2.0], [5.0]),
    }  # fmt: skip
    assert found["drift ~ transfer"] == {("transfer", 1): ([1.0], [3.0]), ("transfer", 2): ([2.0], [3.0])}
    assert found["distance ~ transfer"] == {("near", None): ([4.0], [3.0]), ("far", None): ([5.0], [3.0])}
