"""How much of the actions an order-blind judge reads off how long the robot stands before and after it acts.

In the home world the robot acts as soon as it arrives and then waits, so most frames in front of a thing show what has
become of it. Run as `python -m lightning_vista.scorers.dual.dwell_leak`: it scores fresh action sets of the validation
split as they are, without the wait, and with as long a wait before the act as after it.
"""

from collections.abc import Callable
from statistics import mean

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_vista.metrics import score_problem_set
from lightning_vista.parallel import one_thread
from lightning_vista.scorers.dual_encoder import DualEncoderScorer
from lightning_vista.video import sample_indices
from lightning_vista.vista.mini import Draft, Slot, sample_draft
from lightning_vista.vista.mini.home_episode import HomeEpisode
from lightning_vista.vista.mini.home_facts import draw_as_video

Codes = NDArray[np.uint8]
_FIRST, _COUNT = 2_000_000, 12

#: What is done to tile codes `(frames, 8, 8)`, given the frame of the act.
EDITS: dict[str, Callable[[Codes, int], Codes]] = {
    "as it is": lambda codes, act: codes,
    "no wait after the act": lambda codes, act: codes[: act + 1],
    "equal waits": lambda codes, act: np.insert(codes, [act] * (len(codes) - act - 1), codes[act - 1], axis=0),
}


def score_edited(scorer: DualEncoderScorer, draft: Draft, edit: Callable[[Codes, int], Codes]) -> float:
    """The macro F1 of a judge on a problem set of actions whose videos were edited.

    Args:
        scorer: The judge.
        draft: The problem set.
        edit: What is done to each video, see `EDITS`.

    Returns:
        Macro F1 without rescaling.
    """
    videos = []
    for _, episode in draft.episodes:
        if not isinstance(episode, HomeEpisode):
            raise ValueError(f"Expected problem sets of the home world, got a {type(episode).__name__}.")
        codes = edit(episode.codes(), min(episode.changes))
        videos.append(draw_as_video(codes[sample_indices(len(codes), scorer.frame_spec.num_frames)]))
    with torch.inference_mode(), one_thread():
        scores = scorer.embed_videos(torch.from_numpy(np.stack(videos)))
        scores = scores @ scorer.embed_texts(list(draft.descriptions.values())).T
    targets = torch.tensor([[label in labels for label in draft.steps] for labels, _ in draft.episodes])
    return score_problem_set(scores, targets, "none").macro_f1


def main() -> None:
    """Print the figures of two judges."""
    slots = [
        Slot("val", "home", type, 1, _FIRST + number)
        for type in ("pick_v_put", "toggle", "opening_v_closing")
        for number in range(_COUNT)
    ]
    drafts = [sample_draft(slot) for slot in slots]
    for scorer in (DualEncoderScorer("mean", weights="shipped"), DualEncoderScorer("temporal", weights="shipped")):
        for name, edit in EDITS.items():
            print(f"{scorer.name}, {name}: {mean(score_edited(scorer, draft, edit) for draft in drafts):.2f}")


if __name__ == "__main__":
    main()
