"""The upper layers of a pretrained language model, trained on hidden states of the lower ones."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_vista.models.language_model import Batch, LanguageModelModule
from lightning_vista.models.upper_layers import cut_vocabulary, keep_upper_layers


class UpperLanguageModelModule(LanguageModelModule):
    """Last layers of a pretrained causal language model, with everything behind them, as a model of their own.

    Batches hold `hidden_states` `(batch, tokens, width)` beside `input_ids`, as `StoriesDataModule` makes them with
    `HiddenStates` of the same checkpoint and number of layers. Losses and gradients are those of the whole model with
    frozen lower layers. Layers count from 0 again: `model.model.layers.0` is the lowest of these.

    The output layer is cut to the tokens that occur in the datamodule's texts, so losses are a little lower than those
    of the whole vocabulary. With `all_tokens` it stays whole.

    Args:
        checkpoint: Folder of a model of transformers with the structure of Llama.
        num_layers: Number of its last layers.
        all_tokens: Whether to keep the whole output layer.
        learning_rate: Highest AdamW learning rate, see `warmup_cosine`.
        warmup_steps: Number of optimizer steps in which the learning rate rises.
        weight_decay: AdamW weight decay.
        betas: AdamW betas.
        freeze: Names or patterns of parameters that do not move in `fit`.
        parameter_groups: Name or pattern of parameters -> factor of their learning rate.

    Raises:
        ValueError: If the model cannot be divided; at setup, if the datamodule does not keep hidden states.
    """

    tokens: Tensor | None

    def __init__(
        self,
        checkpoint: str,
        num_layers: int = 6,
        all_tokens: bool = False,
        learning_rate: float = 2e-4,
        warmup_steps: int = 5,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.95),
        freeze: Sequence[str] = (),
        parameter_groups: dict[str, float] | None = None,
    ) -> None:
        super().__init__(
            checkpoint=checkpoint,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            betas=betas,
            freeze=freeze,
            parameter_groups=parameter_groups,
        )
        keep_upper_layers(self.model, num_layers)
        self.all_tokens = all_tokens
        self.register_buffer("tokens", None, persistent=False)

    def setup(self, stage: str) -> None:
        """Cut the output layer, and freeze parameters for `fit`."""
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        if getattr(datamodule, "hidden_states", None) is None:
            raise ValueError(
                "UpperLanguageModelModule: expected a datamodule with `hidden_states`, such as StoriesDataModule, got "
                f"{type(datamodule).__name__} without. Set it to `HiddenStates` of the same checkpoint."
            )
        if not self.all_tokens and self.tokens is None:
            tokens = datamodule.occurring_tokens()
            cut_vocabulary(self.model, tokens)
            self.tokens = tokens
        super().setup(stage)

    def check_vocabulary(self) -> None:
        """Check nothing: tokens come as hidden states."""

    # A model of its own: hooks, adapters and exports find the upper layers where they would find those of any model.
    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the logits of the token after each position, `(batch, tokens, vocabulary)`."""
        options: dict[str, Any] = {"attention_mask": attention_mask, **self.call_options}
        logits: Tensor = self.model(inputs_embeds=hidden_states, **options).logits
        return logits

    def token_predictions(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of all tokens but the first, the places of these tokens in the logits, and the mask."""
        logits = self(batch["hidden_states"], batch["attention_mask"])
        targets = batch["input_ids"][:, 1:].contiguous()
        if self.tokens is not None:  # the token for padding may not occur, and does not count
            targets = torch.searchsorted(self.tokens, targets).clamp(max=len(self.tokens) - 1)
        return logits[:, :-1], targets, batch["attention_mask"][:, 1:].bool()
