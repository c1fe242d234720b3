from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.splits import check_split, connected_groups, validation_groups

SIZES = st.dictionaries(st.text("abcdef", min_size=1, max_size=6), st.integers(1, 30), min_size=1, max_size=80)


@given(SIZES)
def test_whole_groups_are_chosen_and_the_share_is_never_overshot_by_more_than_a_group(sizes: dict[str, int]) -> None:
    held_out = validation_groups(sizes, 0.2)
    assert held_out <= set(sizes)
    for kind in ([g for g in sizes if sizes[g] >= 5], [g for g in sizes if sizes[g] < 5]):
        goal = 0.2 * sum(sizes[g] for g in kind)
        taken = sum(sizes[g] for g in kind if g in held_out)
        assert abs(taken - goal) <= max((sizes[g] for g in kind), default=0)


def test_the_choice_does_not_depend_on_order() -> None:
    sizes = {f"g{n}": n % 9 + 1 for n in range(40)}
    assert validation_groups(sizes, 0.2) == validation_groups(dict(reversed(sizes.items())), 0.2)


def test_large_and_small_groups_stand_on_both_sides() -> None:
    sizes = {**{f"large{n}": 20 for n in range(15)}, **{f"small{n}": 1 for n in range(50)}}
    held_out = validation_groups(sizes, 0.2)
    assert sum(g.startswith("large") for g in held_out) == 3
    assert sum(g.startswith("small") for g in held_out) == 10


def test_names_that_share_a_link_share_a_group() -> None:
    groups = connected_groups(["a", "b", "c", "d"], [("a", "x"), ("x", "c"), ("d",)])
    assert groups["a"] == groups["c"] == "a" and groups["b"] == "b" and groups["d"] == "d"


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataSetError, match="split 'dev' is not known; use one of train, val, test, all"):
        check_split("dev")
