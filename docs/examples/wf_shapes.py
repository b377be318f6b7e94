"""Synthetic workflows: graphs of any size in the shapes that published ones have, as WfFormat documents.

Each is made from a seed, and is the same wherever it is made. What it does not know: how a workflow is
read or run; it writes the document that a published instance would be.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from math import isqrt

Graph = Sequence[Iterable[int]]
"""For each task the numbers of its parents, which are lower than its own."""


def chain(size: int, _: random.Random) -> Graph:
    """One after the other."""
    return [range(n)[-1:] for n in range(size)]


def forkjoin(size: int, _: random.Random) -> Graph:
    """One, then many, then one."""
    return [[], *[[0]] * (size - 2), range(size - 1)]


def fanin(size: int, _: random.Random) -> Graph:
    """Many, then one: the shape of seismology."""
    return [*[[]] * (size - 1), range(size - 1)]


def blast(size: int, _: random.Random) -> Graph:
    """One that splits, many that search, and two that collect, each from all of them."""
    searches = range(1, size - 2)
    return [[], *[[0] for _ in searches], searches, searches]


def srasearch(size: int, _: random.Random) -> Graph:
    """An index, and downloads, and after the index and a download each an alignment; then a merger."""
    aligned = (size - 2) // 2
    downloaded = size - 2 - aligned
    alignments = [[0, n + 1] for n in range(aligned)]
    return [[], *[[]] * downloaded, *alignments, range(downloaded + 1, size - 1)]


def montage(size: int, _: random.Random) -> Graph:
    """Images are compared with their neighbours; of that comes a model, which corrects each of them."""
    images = max(1, (size - 5) // 3)
    differences = max(1, size - 5 - 2 * images)
    joined = images + differences
    corrected = range(joined + 2, joined + 2 + images)
    return [
        *[[]] * images,
        *[{n % images, (n + 1 + n // images) % images} for n in range(differences)],
        range(images, joined),
        [joined],
        *[[n, joined + 1] for n in range(images)],
        corrected,
        [*corrected, corrected.stop],
        [corrected.stop + 1],
    ]


def rnaseq(size: int, rng: random.Random) -> Graph:
    """A few steps prepare; samples go down lanes, with side branches; a report after all that ends."""
    prepared = min(3, size)
    graph: list[Iterable[int]] = [range(n)[-1:] for n in range(prepared)]
    lanes = [prepared - 1] * max(1, isqrt(size) // 2)
    ends = set(range(prepared))
    for n in range(prepared, size - 1):
        lane = n % len(lanes)
        parents = {lanes[lane], *rng.choice([(), (), (rng.randrange(prepared),)])}
        graph.append(parents)
        ends = (ends - parents) | {n}
        if rng.randrange(3):
            lanes[lane] = n
    return [*graph, ends]


def layers(size: int, rng: random.Random) -> Graph:
    """As many layers as there are tasks in each; each task after some of the layer before."""
    width = isqrt(size)
    rows = (range(n // width * width - width, n // width * width) for n in range(size))
    return [{rng.choice(row) for _ in range(3)} if row.start >= 0 else [] for row in rows]


def diamond(size: int, _: random.Random) -> Graph:
    """A square that stands on its corner: each task after its left and its right neighbour above."""
    side = isqrt(size)
    return [[*([n - side] if n >= side else []), *([n - 1] if n % side else [])] for n in range(size)]


def scattered(size: int, rng: random.Random) -> Graph:
    """Each after up to five others, whichever."""
    return [{rng.randrange(n) for _ in range(min(n, rng.randrange(6)))} for n in range(size)]


SHAPES: dict[str, Callable[[int, random.Random], Graph]] = {
    "chain": chain,
    "forkjoin": forkjoin,
    "fanin": fanin,
    "blast": blast,
    "srasearch": srasearch,
    "montage": montage,
    "rnaseq": rnaseq,
    "layers": layers,
    "diamond": diamond,
    "random": scattered,
}


def make_document(shape: str, size: int, seed: int) -> dict[str, object]:
    """A workflow of so many tasks, with runtimes from a hundredth of a second to a hundred seconds."""
    rng = random.Random(seed)  # noqa: S311 - no cryptography
    graph = [sorted(parents) for parents in SHAPES[shape](size, rng)][:size]
    names = [f"{shape}_{n:05}" for n in range(size)]
    children: list[list[str]] = [[] for _ in graph]
    for name, parents in zip(names, graph, strict=True):
        for parent in parents:
            children[parent].append(name)
    return {
        "name": f"{shape}-{size}-{seed}",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {
                "tasks": [
                    {
                        "name": name,
                        "id": name,
                        "parents": [names[parent] for parent in parents],
                        "children": after,
                    }
                    for name, parents, after in zip(names, graph, children, strict=True)
                ]
            },
            "execution": {
                "tasks": [
                    # By the millisecond, as most published ones are, and as skewed.
                    {"id": name, "runtimeInSeconds": rng.randrange(10, 10 ** rng.randrange(2, 6)) / 1000}
                    for name in names
                ]
            },
        },
    }
