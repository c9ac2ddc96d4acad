"""Batches planned once over a whole data set: they depend on lengths and settings, never on processes or a resume."""

from collections.abc import Sequence


def planned_batches(lengths: Sequence[int], rows: int, tokens: int) -> list[list[int]]:
    """Cut places, longest first, into batches of at most so many rows and padded tokens; one row always fits."""
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    batches: list[list[int]] = []
    for place in order:
        last = batches[-1] if batches else []
        if last and len(last) < rows and (len(last) + 1) * lengths[last[0]] <= tokens:
            last.append(place)
        else:
            batches.append([place])
    return batches


def runs_of(batches: Sequence[list[int]], rows: int) -> list[list[list[int]]]:
    """Consecutive batches of about so many rows together: what is computed, and committed, at once."""
    runs: list[list[list[int]]] = []
    for batch in batches:
        if not runs or sum(map(len, runs[-1])) >= rows:
            runs.append([])
        runs[-1].append(batch)
    return runs
