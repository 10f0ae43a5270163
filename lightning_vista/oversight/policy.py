"""Policy that learns under limited oversight, and pictures of it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from lightning_vista.drawing.boards import log_picture
from lightning_vista.drawing.pictures import tile_pictures
from lightning_vista.options import check_word
from lightning_vista.oversight.drawing import MOVES, draw_grid
from lightning_vista.oversight.grid import Outcome, OversightGridworld, observe
from lightning_vista.oversight.rollout import (
    Ghosts,
    at_episode_end,
    discounted_returns,
    end_rewards,
    entropy,
    episode_memberships,
    first_outcomes,
    mean_over,
    policy_loss,
    roll_out,
)


@torch.no_grad()
def draw_policy(policy: Any, actors: Sequence[str], size: int) -> Tensor:
    """Draw a policy with the ghost between the agent and the diamond, and nothing under oversight.

    Args:
        policy: Policy that maps observations and `actor` to log-probabilities of moves, and has `act` and `device`,
            such as `OversightPolicy`.
        actors: Actors, one per column. Above, arrows show the moves in every cell; below, dots show the way of the
            agent in an episode.
        size: Number of rows and columns of the grid.

    Returns:
        uint8 `(height, width, 3)`.
    """
    diamond, ghost, start = size - 1, (size // 2) * (size + 1), (size - 1) * size
    columns = [
        (
            _arrows(partial(policy, actor=actor), diamond, ghost, size, policy.device),
            _episode(partial(policy.act, actor=actor), (start, diamond, ghost), size, policy.device),
        )
        for actor in actors
    ]
    rows = zip(*columns, strict=True)
    return tile_pictures([torch.stack(row).permute(0, 3, 1, 2) / 127.5 - 1 for row in rows])


def _arrows(policy: Callable[[Tensor], Tensor], diamond: int, ghost: int, size: int, device: torch.device) -> Tensor:
    cells = torch.arange(size**2)
    places = torch.stack([cells, torch.full_like(cells, diamond), torch.full_like(cells, ghost)], dim=1)
    observation = observe(places.to(device), torch.zeros(size**2, size**2, dtype=torch.bool, device=device))
    return draw_grid(size, None, diamond, ghost, moves=policy(observation).exp())


def _episode(act: Callable[..., Tensor], places: tuple[int, int, int], size: int, device: torch.device) -> Tensor:
    env = OversightGridworld(1, size, oversight_probability=0.0, device=device)
    env.reset(torch.tensor(places))
    _, diamond, ghost = places
    batch = roll_out(env, partial(act, generator=env.generator), env.horizon)
    steps = int((batch["outcome"][0] > 0).nonzero()[0])
    cells = batch["observation"][0, : steps + 1, : size**2].argmax(-1).tolist()
    return draw_grid(size, cells[0], diamond, ghost, trail=cells[1:])


Batch = Mapping[str, Any]
#: The actor: both experts as the gate mixes them, or one of them alone.
Actor = Literal["mixed", "diamond", "ghost"]
#: The steps to train on, see `OversightPolicy`.
TrainOn = Literal["all", "known", "seen"]
#: The steps that have a baseline, see `OversightPolicy`.
Baseline = Literal["all", "unseen"]


class OversightPolicy(L.LightningModule):
    """Policy of two experts, mixed by a gate, with one output layer, trained by REINFORCE with a baseline.

    This module does not route. A `GradientRouting` callback on `experts.diamond` and `experts.ghost` does so, by the
    batch's `memberships`; without it this is an ordinary policy. Batches come from `GridworldDataModule`; `roll_out`
    documents their fields. From seen episodes, the gate learns which expert they belong to.

    Training logs means over an epoch: `train/return`, the true return of finished episodes (diamond 1, ghost -1),
    `train/loss` and its parts. Validation and test log for each actor `test/<actor>/return` and the shares `diamond`,
    `ghost` and `time_out` of its episodes. `test/return` is the return of the deployed actor. The mean output of the
    gate over episodes of "mixed" is logged as `test/gate/diamond` and `test/gate/ghost`, by what they reached, and as
    `test/gate/seen_diamond` and `test/gate/seen_ghost` for the seen ones. A test draws `policy.png`, see `draw_policy`.

    Args:
        size: Number of rows and columns of the grid.
        width: Width of all hidden layers, and of the experts' outputs.
        punished: Ghosts that are punished, see `end_rewards`; all others are rewarded like diamonds.
        train_on: Steps to train on: "all"; those of episodes whose end is "known", because it was seen or because time
            ran out; or those of "seen" episodes only.
        baseline: Steps that have a baseline: "all", or those of "unseen" episodes only. If diamond and ghost are worth
            the same, a seen diamond is not better than the baseline expects, so its expert would learn almost nothing
            from it. Without the baseline, the expert learns to raise the probability of seen diamonds.
        deployed: Actor that is deployed after training.
        learning_rate: Adam learning rate.
        entropy_weight: Weight of the policy's entropy in the loss.
        gate_weight: Weight of the gate's cross-entropy in the loss.
        value_weight: Weight of the baseline's squared error in the loss.
        discount: Discount of rewards per step.

    Raises:
        ValueError: If an option has an unknown word.

    Example:
        >>> policy = OversightPolicy(size=5, width=16)
        >>> policy(torch.zeros(3, 100)).shape
        torch.Size([3, 4])
    """

    actors: tuple[Actor, ...] = get_args(Actor)

    def __init__(
        self,
        size: int = 5,
        width: int = 64,
        punished: Ghosts = "none",
        train_on: TrainOn = "all",
        baseline: Baseline = "all",
        deployed: Actor = "diamond",
        learning_rate: float = 3e-3,
        entropy_weight: float = 0.05,
        gate_weight: float = 0.01,
        value_weight: float = 0.5,
        discount: float = 0.97,
    ) -> None:
        super().__init__()
        check_word("punished", punished, get_args(Ghosts))
        check_word("train_on", train_on, get_args(TrainOn))
        check_word("baseline", baseline, get_args(Baseline))
        check_word("deployed", deployed, get_args(Actor))
        self.size, self.punished, self.deployed = size, punished, deployed
        self.train_on, self.baseline = train_on, baseline
        self.learning_rate, self.discount = learning_rate, discount
        self.entropy_weight, self.gate_weight, self.value_weight = entropy_weight, gate_weight, value_weight
        features = 4 * size**2
        self.experts = nn.ModuleDict({name: _mlp(features, width, width) for name in ("diamond", "ghost")})
        self.gate = _mlp(features, width, 1)
        self.output = nn.Linear(width, len(MOVES))
        self.value = _mlp(features, width, 1)

    def forward(self, observation: Tensor, actor: Actor = "mixed") -> Tensor:
        """Return the log-probability of each move.

        Args:
            observation: Observations `(..., features)`.
            actor: Actor that chooses the moves.

        Returns:
            Log-probabilities `(..., 4)`.

        Raises:
            ValueError: If the observations come from a grid of another size, or the actor is unknown.
        """
        check_word("actor", actor, get_args(Actor))
        if observation.shape[-1] != 4 * self.size**2:
            raise ValueError(
                f"`observation`: expected {4 * self.size**2} features, for a grid of size {self.size}, got "
                f"{observation.shape[-1]}. Give the policy and its environments the same `size`."
            )
        alone = {"diamond": 1.0, "ghost": 0.0}
        return self._mix(observation, alone[actor] if actor in alone else self.gate(observation).sigmoid())

    @torch.no_grad()
    def act(self, observation: Tensor, generator: torch.Generator, actor: Actor = "mixed") -> Tensor:
        """Draw a move for each observation.

        Args:
            observation: Observations `(envs, features)`.
            generator: Generator of the random numbers.
            actor: Actor that chooses the moves.

        Returns:
            Indices into `MOVES`, `(envs,)`.
        """
        return torch.multinomial(self(observation, actor).exp(), 1, generator=generator).squeeze(-1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of REINFORCE with a baseline and an entropy bonus, and the gate's loss."""
        losses = self._losses(batch)
        loss = (
            losses["policy"]
            - self.entropy_weight * losses["entropy"]
            + self.value_weight * losses["value"]
            + self.gate_weight * losses["gate"]
        )
        ended = batch["outcome"] > 0
        true = mean_over(end_rewards(batch["outcome"], batch["seen"], "all"), ended)
        # Weighted by episodes, since roll-outs differ in the number that end in them; some have none.
        self.log("train/return", true, on_step=False, on_epoch=True, prog_bar=True, batch_size=int(ended.sum()))
        parts = {f"train/{name}": part for name, part in (losses | {"loss": loss}).items()}
        self.log_dict(parts, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the outcomes of an actor's episodes."""
        self._log_episodes(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the outcomes of an actor's episodes."""
        self._log_episodes(batch, "test")

    def on_test_epoch_end(self) -> None:
        """Draw the trained policy."""
        log_picture(self.trainer, "policy", draw_policy(self, self.actors, self.size))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam, as in the paper."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    def _mix(self, observation: Tensor, share: Tensor | float) -> Tensor:
        """Return log-probabilities of moves, to which the diamond's expert contributes this share."""
        mixed = share * self.experts["diamond"](observation) + (1 - share) * self.experts["ghost"](observation)
        return log_softmax(self.output(mixed), dim=-1)

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the means of losses and entropy over the steps to train on."""
        observation, outcome, memberships = batch["observation"], batch["outcome"], batch["memberships"]
        seen = memberships.sum(-1)
        known = seen + at_episode_end((outcome == Outcome.TIME_OUT).float(), outcome)
        # Unseen ends of diamonds and ghosts stay unknown; running out of time is known without oversight.
        rows = {"all": torch.ones_like(seen), "known": known, "seen": seen}[self.train_on]
        gate, value = self.gate(observation), self.value(observation).squeeze(-1)
        log_probabilities = self._mix(observation, gate.sigmoid())
        taken = log_probabilities.gather(-1, batch["action"].unsqueeze(-1)).squeeze(-1)
        reward = end_rewards(outcome, batch["seen"], self.punished)
        returns = discounted_returns(reward, outcome, self.discount)
        baseline = value * (1 - seen) if self.baseline == "unseen" else value
        # The gate is trained on seen episodes only (see "gate" below): only they tell which expert they belong to.
        gate_losses = binary_cross_entropy_with_logits(gate.squeeze(-1), memberships[..., 0], reduction="none")
        return {
            "policy": mean_over(policy_loss(taken, returns - baseline), rows),
            "entropy": mean_over(entropy(log_probabilities), rows),
            "value": mean_over((returns - value).square(), rows),
            "gate": mean_over(gate_losses, seen),
        }

    def _log_episodes(self, batch: Batch, stage: str) -> None:
        """Log the outcome of the first episode of each environment."""
        actor, end = batch["actor"], first_outcomes(batch["outcome"])
        shares = {kind.name.lower(): (end == kind).float().mean() for kind in Outcome if kind}
        figures = {"return": shares["diamond"] - shares["ghost"], **shares}
        logged = {f"{stage}/{actor}/{name}": figure for name, figure in figures.items()}
        if actor == self.deployed:
            logged[f"{stage}/return"] = figures["return"]
        if actor == "mixed":
            logged |= {f"{stage}/gate/{name}": mean for name, mean in self._gate_means(batch).items()}
        self.log_dict(logged, batch_size=len(end))

    def _gate_means(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean output of the gate over the steps of each kind of episode; NaN for kinds without episodes."""
        gate = self.gate(batch["observation"]).sigmoid().squeeze(-1)
        everywhere = torch.ones_like(batch["seen"])
        reached = episode_memberships(batch["outcome"], everywhere).unbind(-1)
        seen = batch["memberships"].unbind(-1)
        kinds = zip(("diamond", "ghost", "seen_diamond", "seen_ghost"), (*reached, *seen), strict=True)
        return {name: gate[rows > 0].mean() for name, rows in kinds}


def _mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )
