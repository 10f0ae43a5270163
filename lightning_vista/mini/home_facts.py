"""Single images of homes for training, and the facts about each, read from a thousand tile codes at once."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from lightning_vista.mini.home import SEEN
from lightning_vista.mini.home_scene import (
    CONTAINERS,
    INNER,
    KINDS,
    PORTABLE,
    SWITCHED,
    THINGS,
    TILES,
    WALLS,
    draw_codes,
    thing_kind,
)

Codes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]

_CODES = {tile: code for code, tile in enumerate(TILES)}
_ROBOT = _CODES["robot", "right"]
_HAND = _CODES["hand",]
_FLOOR = _CODES["floor",]
_MOVES = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # (x, y) of right, down, left, up
_NOTHING = len(THINGS)
#: Probabilities in a scene: that a thing is present, that one is in the hand, that one lies in a container, and that
#: the robot stands in front of a thing, or in line with it.
_PRESENT, _HELD, _LYING, _FACING, _GAZING = 0.85, 0.3, 0.4, 0.5, 0.25

#: Facts about an image: the things and their states, then those that are faced, gazed at, and beside the faced one.
FACTS: tuple[str, ...] = (
    *(f"there is a {thing}" for thing in THINGS),
    *(f"the {thing} is on or open" for thing in THINGS if thing_kind(thing) in SWITCHED),
    *(f"the {thing} is off or closed" for thing in THINGS if thing_kind(thing) in SWITCHED),
    *(f"the {thing} lies in something" for thing in THINGS if thing_kind(thing) in PORTABLE),
    *(f"the {thing} holds something" for thing in THINGS if thing_kind(thing) in CONTAINERS),
    *(f"the {thing} is in the hand" for thing in THINGS if thing_kind(thing) in PORTABLE),
    *(f"the robot is in front of the {thing}" for thing in THINGS),
    *(f"the robot looks at the {thing} from afar" for thing in THINGS),
    *(f"the {thing} is beside what the robot is in front of" for thing in THINGS),
)


def read_facts(codes: Codes) -> Flags:
    """Read the facts about images of homes.

    Args:
        codes: Tile codes `(images, 8, 8)`, uint8.

    Returns:
        Truth of each fact, bool `(images, facts)`, in the order of `FACTS`.

    Example:
        >>> codes = np.zeros((1, 8, 8), np.uint8)
        >>> codes[0, 3, 3], codes[0, 3, 4] = TILES.index(("robot", "right")), TILES.index(("red ball",))
        >>> [fact for fact, is_true in zip(FACTS, read_facts(codes)[0]) if is_true]
        ['there is a red ball', 'the robot is in front of the red ball']
    """
    images = len(codes)
    shown = np.zeros((images, len(TILES)), bool)
    shown[np.arange(images)[:, None], codes.reshape(images, -1)] = True
    tile_facts, thing_of = _tile_tables()
    things = thing_of[np.pad(codes, ((0, 0), (1, 1), (1, 1)))]  # a border gives every wall a cell ahead
    faced, gazed, beside = _ahead(codes, things)
    return np.concatenate([shown.astype(np.float32) @ tile_facts > 0, faced, gazed, beside], axis=1)


def random_codes(images: int, rng: np.random.Generator) -> Codes:
    """Sample random moments of homes, without held-out things.

    Args:
        images: Number of images.
        rng: Random generator.

    Returns:
        Tile codes `(images, 8, 8)`, uint8.
    """
    rows = np.arange(images)
    codes = np.full((images, 8, 8), _FLOOR, np.uint8)
    codes[:, [0, -1], :] = codes[:, :, [0, -1]] = _CODES["wall",]
    things = {kind: _choose(kind, images, rng) for kind in KINDS}
    tiles = _states(things, rng)
    codes[:, 0, 0] = _put_away(things, tiles, rng)
    inner = rng.permuted(np.tile(np.arange(len(INNER)), (images, 1)), axis=1)
    walls = rng.permuted(np.tile(np.arange(len(WALLS)), (images, 1)), axis=1)
    cells: list[NDArray[np.int64]] = []
    for number, (kind, place) in enumerate((kind, place) for kind in KINDS for place in range(2)):
        spots = np.array(WALLS)[walls[:, number]] if kind == "door" else np.array(INNER)[inner[:, number]]
        tile = tiles[kind][:, place]
        there = tile >= 0
        codes[rows[there], spots[there, 1], spots[there, 0]] = tile[there]
        cells.append(spots)
    _place_robot(codes, np.stack(cells, axis=1), np.array(INNER)[inner[:, -1]], rng)
    return codes


def draw_as_video(codes: Codes) -> NDArray[np.uint8]:
    """Draw tile codes in the colours that remain in 4:2:0 video.

    Args:
        codes: Codes `(..., 8, 8)`, uint8.

    Returns:
        RGB images `(..., 3, 96, 96)`, uint8.
    """
    tiles = np.moveaxis(_video_tiles()[codes], (-1, -5, -3, -4, -2), (-5, -4, -3, -2, -1))
    *leading, channels, rows, height, columns, width = tiles.shape
    return np.ascontiguousarray(tiles).reshape(*leading, channels, rows * height, columns * width)


@cache
def _video_tiles() -> NDArray[np.uint8]:
    """Draw the tiles `(tiles, 12, 12, 3)`, with colour averaged over squares of 2x2 pixels and original brightness."""
    tiles = draw_codes(np.arange(len(TILES), dtype=np.uint8)[:, None, None]).astype(np.float64)
    luma = tiles @ np.array([0.299, 0.587, 0.114])
    chroma = tiles - luma[..., None]
    coarse = chroma.reshape(len(tiles), 6, 2, 6, 2, 3).mean((2, 4)).repeat(2, axis=1).repeat(2, axis=2)
    seen: NDArray[np.uint8] = (luma[..., None] + coarse).round().clip(0, 255).astype(np.uint8)
    return seen


@cache
def _tile_tables() -> tuple[NDArray[np.float32], Numbers]:
    """Return the facts that each tile shows `(tiles, facts of tiles)`, and the thing in each tile `(tiles,)`."""
    facts = np.zeros((len(TILES), len(FACTS) - 3 * len(THINGS)), np.float32)
    things = np.full(len(TILES), _NOTHING)
    places = {fact: place for place, fact in enumerate(FACTS)}
    for code, (name, *details) in enumerate(TILES):
        true = [f"the {details[0]} is in the hand"] if name == "hand" and details else []
        if name in THINGS:
            things[code] = THINGS.index(name)
            true.append(f"there is a {name}")
            if thing_kind(name) in SWITCHED:
                true.append(f"the {name} is {'on or open' if 'on' in details else 'off or closed'}")
            if details and details[-1] in THINGS:
                true += [f"there is a {details[-1]}", f"the {details[-1]} lies in something"]
                true.append(f"the {name} holds something")
        facts[code, [places[fact] for fact in true]] = 1
    return facts, things


def _ahead(codes: Codes, things: Numbers) -> tuple[Flags, Flags, Flags]:
    """Return the things in front of each robot, in its gaze, and beside the former; each `(images, things)`."""
    images = len(codes)
    rows = np.arange(images)
    is_robot = (codes >= _ROBOT) & (codes < _ROBOT + 4)
    y, x = np.divmod(is_robot.reshape(images, -1).argmax(1), codes.shape[2])
    direction = codes[rows, y, x].astype(int) - _ROBOT
    step = _MOVES[direction % 4]
    cell = np.stack([x, y], axis=1) + 1
    names = np.full((2, images), _NOTHING)
    is_looking = is_robot.any((1, 2))
    for distance in range(1, codes.shape[1]):
        at = np.clip(cell + distance * step, 0, codes.shape[1] + 1)
        found = things[rows, at[:, 1], at[:, 0]]
        names[int(distance > 1)] = np.where(is_looking, found, names[int(distance > 1)])
        is_looking = is_looking & (found == _NOTHING)
    faced, gazed = (np.eye(_NOTHING + 1, dtype=bool)[which][:, :-1] for which in names)
    beside = np.zeros_like(faced)
    for move in _MOVES:
        at = np.clip(cell + step + move, 0, codes.shape[1] + 1)
        beside |= np.eye(_NOTHING + 1, dtype=bool)[things[rows, at[:, 1], at[:, 0]]][:, :-1]
    return faced, gazed, beside & faced.any(1)[:, None]


def _choose(kind: str, images: int, rng: np.random.Generator) -> Numbers:
    """Choose up to two things of a kind `(images, 2)`, as places in `THINGS`; -1 for none."""
    pool = np.array([THINGS.index(thing) for thing in SEEN if thing_kind(thing) == kind])
    chosen = rng.permuted(np.tile(pool, (images, 1)), axis=1)[:, :2]
    return np.where(rng.random((images, 2)) < _PRESENT, chosen, -1)


def _states(things: dict[str, Numbers], rng: np.random.Generator) -> dict[str, Numbers]:
    """Choose the tile of each thing on the floor, in a random state; -1 for none."""
    tiles = {}
    for kind, chosen in things.items():
        on = rng.integers(2, size=chosen.shape) if kind in SWITCHED else np.zeros(chosen.shape, int)
        table = np.array([[_CODES[thing,], _CODES.get((thing, "on"), 0)] for thing in THINGS])
        tiles[kind] = np.where(chosen < 0, -1, table[chosen, on])
    return tiles


def _put_away(things: dict[str, Numbers], tiles: dict[str, Numbers], rng: np.random.Generator) -> Codes:
    """Move some things into the hand and some into trays and open boxes, and return the tile of each hand."""
    hand = np.full(len(things["ball"]), _HAND, np.uint8)
    one, other = ("ball", "key") if rng.random() < 0.5 else ("key", "ball")
    held = (rng.random(len(hand)) < _HELD) & (things[one][:, 0] >= 0)
    for row in np.flatnonzero(held):
        hand[row] = _CODES["hand", THINGS[things[one][row, 0]]]
    tiles[one][held, 0] = -1
    for kind in CONTAINERS:
        lies = (rng.random(len(hand)) < _LYING) & (tiles[other][:, 0] >= 0)
        for row in np.flatnonzero(lies):
            inside = (*TILES[tiles[kind][row, 0]], THINGS[things[other][row, 0]])
            if tiles[kind][row, 0] >= 0 and inside in _CODES:
                tiles[kind][row, 0] = _CODES[inside]
                tiles[other][row, 0] = -1
    return hand


def _place_robot(codes: Codes, cells: Numbers, free: Numbers, rng: np.random.Generator) -> None:
    """Put a robot in front of a thing or in line with one, or into a free cell if that cell is taken."""
    images = len(codes)
    rows = np.arange(images)
    direction = rng.integers(4, size=images)
    chance = rng.random(images)
    distance = np.where(chance < _FACING, 1, rng.integers(2, 5, size=images))
    wanted = cells[rows, rng.integers(cells.shape[1], size=images)] - distance[:, None] * _MOVES[direction]
    inside = ((wanted > 0) & (wanted < codes.shape[1] - 1)).all(1) & (chance < _FACING + _GAZING)
    wanted = np.where(inside[:, None], wanted, free)
    is_free = codes[rows, wanted[:, 1], wanted[:, 0]] == _FLOOR
    spot = np.where(is_free[:, None], wanted, free)
    codes[rows, spot[:, 1], spot[:, 0]] = _ROBOT + direction
