"""Deterministic splits that keep what belongs together on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from jetspect.errors import DataSetError

SPLITS = ("train", "val", "test", "all")


def check_split(split: str) -> None:
    if split not in SPLITS:
        raise DataSetError(f"split {split!r} is not known; use one of {', '.join(SPLITS)}")


def validation_groups(sizes: Mapping[str, int], share: float, *, seed: str = "jetspect") -> frozenset[str]:
    """Choose whole groups for validation until they hold about ``share`` of all images.

    Large groups (five images and more) and small ones are chosen from separately, each to its own share, so that both
    kinds stand on both sides. The order is that of a hash of the group's name: adding groups moves few others.
    """
    chosen: set[str] = set()
    for large in (True, False):
        groups = sorted((g for g, n in sizes.items() if (n >= 5) == large), key=lambda g: _hash(seed, g))
        goal = share * sum(sizes[g] for g in groups)
        taken = 0
        for group in groups:
            # Take a group only where that brings the count closer to the goal.
            if abs(taken + sizes[group] - goal) < abs(taken - goal):
                chosen.add(group)
                taken += sizes[group]
    return frozenset(chosen)


def connected_groups(names: Iterable[str], links: Iterable[Sequence[str]]) -> dict[str, str]:
    """Map each name to the smallest name it is connected with through ``links`` (a union-find)."""
    parent: dict[str, str] = {name: name for name in names}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for link in links:
        roots = sorted({root(name) for name in link})
        for other in roots[1:]:
            parent[other] = roots[0]
    return {name: root(name) for name in parent}


def _hash(seed: str, name: str) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).hexdigest()
