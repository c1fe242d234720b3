from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from jetspect.errors import InputError
from jetspect.runtime.publishing.topics import Topics, check_level


def test_topics_stand_where_the_design_says() -> None:
    topics = Topics("jetspect", "plant", "press", "line-2", "island_3")
    assert topics.result == "jetspect/v1/plant/press/line-2/island_3/result"
    assert topic_matches_sub("jetspect/v1/+/+/+/+/result", topics.result)


@pytest.mark.parametrize("level", ["", "a/b", "+", "a#", "a b", "$SYS", "x" * 65, "a\0b", "a\nb", "\ud800"])
def test_levels_that_a_broker_could_not_carry_are_refused(level: str) -> None:
    with pytest.raises(InputError):
        check_level(level)


@given(st.text(max_size=70))
def test_every_accepted_level_is_one_level_of_valid_utf8(level: str) -> None:
    try:
        check_level(level)
    except InputError:
        return
    topic = Topics("n", "s", "a", "l", level).result
    assert topic.count("/") == 6
    assert len(topic.encode()) < 500
