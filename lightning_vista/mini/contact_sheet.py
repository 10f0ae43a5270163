"""Contact sheet of problem sets, as rows of frames: `python -m lightning_vista.mini.contact_sheet OUT.png`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lightning_vista.mini.draft import Episode
from lightning_vista.mini.slots import Slot, sample_draft

#: One problem set of each type, with the number of its videos to show.
SHOWN = (
    (Slot("test", "home", "objects", 1, 0), 1),
    (Slot("test", "home", "on_v_off", 1, 0), 2),
    (Slot("test", "home", "open_v_closed", 1, 0), 2),
    (Slot("test", "home", "pick_v_put", 1, 0), 2),
    (Slot("test", "home", "toggle", 1, 0), 1),
    (Slot("test", "home", "opening_v_closing", 1, 0), 1),
    (Slot("test", "home", "remix", 4, 2), 2),
    (Slot("test", "home", "permutation", 3, 0), 3),
    (Slot("test", "home", "permutation_go_only", 3, 1), 3),
    (Slot("test", "home", "remix", 8, 0), 1),
    (Slot("test", "craft", "foundation", 1, 0), 6),
    (Slot("test", "craft", "remix", 3, 0), 3),
    (Slot("test", "craft", "permutation", 3, 0), 3),
    (Slot("test", "craft", "permutation_go_only", 3, 0), 3),
)
_FRAMES = 9
_GAP = 4
_TEXT_WIDTH = 130  # characters
_INK, _GREY, _PAPER = (25, 25, 30), (110, 110, 118), (255, 255, 255)


def draw_contact_sheet(shown: Sequence[tuple[Slot, int]] = SHOWN, seed: int = 0) -> Image.Image:
    """Draw videos as rows of frames.

    Args:
        shown: Problem sets, each with the number of its videos to show, one for each of its first descriptions.
        seed: Random seed of the dataset.

    Returns:
        The image, with a palette of 256 colours.
    """
    rows = [row for slot, count in shown for row in _rows(slot, count, seed)]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), _PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet.quantize(256, dither=Image.Dither.NONE)


def _rows(slot: Slot, count: int, seed: int) -> list[Image.Image]:
    """Draw the title of a problem set and some of its videos with different descriptions."""
    draft = sample_draft(slot, seed)
    rows = [_text([slot.id + (", held out" if slot.held_out else "")], _GREY)]
    for labels, episode in sorted({labels: episode for labels, episode in draft.episodes}.items())[:count]:
        text = "; ".join(draft.descriptions[label] for label in labels)
        rows += [_text(wrap(text, _TEXT_WIDTH), _INK), _film(episode)]
    return rows


def _film(episode: Episode) -> Image.Image:
    """Draw evenly spaced frames side by side."""
    frames = episode.frames()
    chosen = frames[np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int)]
    padded = np.pad(chosen, ((0, 0), (0, 2 * _GAP), (_GAP, 0), (0, 0)), constant_values=255)
    return Image.fromarray(np.concatenate(list(padded), axis=1))


def _text(lines: Sequence[str], color: tuple[int, int, int]) -> Image.Image:
    """Draw lines of text."""
    font, height = ImageFont.load_default(13), 17
    image = Image.new("RGB", (_FRAMES * 100, height * len(lines) + _GAP), _PAPER)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((_GAP, height * number), line, color, font)
    return image


if __name__ == "__main__":
    draw_contact_sheet().save(Path(sys.argv[1]), optimize=True)
