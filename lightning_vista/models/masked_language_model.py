"""Masked language models of transformers, such as BERT and ESM-2, for texts of which a part is to be forgotten."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_vista.models.finetuning import DRAW
from lightning_vista.models.language_model import Batch, LanguageModelModule
from lightning_vista.models.token_masking import mask_tokens
from lightning_vista.routing.rules.targets import Target


class MaskedLanguageModelModule(LanguageModelModule):
    """Masked language model of transformers: it predicts tokens that its input hides, from both sides.

    All else is as for `LanguageModelModule`; losses are means over the chosen tokens only. Each training step hides
    other tokens. Validation, test, calibration and the evaluations of `CoherenceTuning` and `RelearningAttack` hide the
    same tokens of a text each time, whatever model, batch or process has it, so that losses are comparable.

    Rules of tokens need `target: same`, since position `t` predicts token `t`. Batches hold the texts as they are, so
    rules read hidden tokens too. Padding and the tokenizer's special tokens are never hidden.

    Args:
        mask_token: Id of the token that hides others; by default that of the datamodule's tokenizer or of the model's
            configuration. The embedded corpus has none: take one of the embeddings that no token uses.
        mask_probability: Probability that a token is chosen; each text has at least one.
        mask_share: Share of the chosen tokens that become the mask token.
        random_share: Share of the chosen tokens that become any token. The others stay as they are.
        mask_seed: Random seed of the choices.
        **options: Arguments of `LanguageModelModule`.

    Raises:
        ValueError: If a probability or share is not allowed; at setup, if no mask token is known, or the model's
            configuration has another one.

    Example:
        >>> sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        >>> module = MaskedLanguageModelModule(mask_token=1, model_type="bert", sizes={**sizes, "vocab_size": 50})
        >>> batch = {"input_ids": torch.tensor([[3, 1, 4]]), "attention_mask": torch.ones(1, 3)}
        >>> module.token_losses(batch)[0].shape
        torch.Size([1, 3])
    """

    target: ClassVar[Target] = "same"
    auto_class: ClassVar[str] = "AutoModelForMaskedLM"
    call_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        mask_token: int | None = None,
        mask_probability: float = 0.15,
        mask_share: float = 0.8,
        random_share: float = 0.1,
        mask_seed: int = 0,
        **options: Any,  # passed on
    ) -> None:
        super().__init__(**options)
        if not 0 < mask_probability <= 1:
            raise ValueError(f"`mask_probability`: expected a number above 0 and up to 1, got {mask_probability}.")
        if min(mask_share, random_share) < 0 or mask_share + random_share > 1:
            raise ValueError(
                "`mask_share`, `random_share`: expected at least 0, and at most 1 together, got "
                f"{mask_share} and {random_share}."
            )
        self.mask_token, self.mask_seed = mask_token, mask_seed
        self.mask_probability, self.mask_shares = mask_probability, (mask_share, random_share)
        self._special: list[int] = []
        self._num_tokens: int = self.model.get_input_embeddings().num_embeddings

    def setup(self, stage: str) -> None:
        """Find the mask token and the special tokens, besides what every language model needs.

        Raises:
            ValueError: If no mask token is known, or the model's configuration has another one.
        """
        super().setup(stage)
        tokenizer = getattr(getattr(self.trainer, "datamodule", None), "tokenizer", None)
        of_model = getattr(self.model.config, "mask_token_id", None)
        if self.mask_token is None:
            of_tokenizer = getattr(tokenizer, "mask_token_id", None)
            self.mask_token = of_model if of_tokenizer is None else of_tokenizer
        # ESM's embeddings know the mask token, and treat it in a way of their own.
        if self.mask_token is None or of_model not in (None, self.mask_token):
            raise ValueError(
                f"`mask_token`: expected a token that hides others, and that of the model's configuration if it has "
                f"one, got {self.mask_token} and {of_model}. Set `mask_token` to an embedding that no text uses, and "
                "`mask_token_id` in the model's `sizes` alike."
            )
        if not self.mask_token < self.model.get_input_embeddings().num_embeddings:
            raise ValueError(
                f"`mask_token`: expected one of the model's {self.model.get_input_embeddings().num_embeddings} "
                f"embeddings, got {self.mask_token}."
            )
        if tokenizer is not None:
            self._special, self._num_tokens = list(getattr(tokenizer, "all_special_ids", [])), len(tokenizer)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of the causal model's step, on tokens that this optimizer step chooses."""
        # 0 is for evaluations. The step's number, so that a resumed run chooses the same.
        return super().training_step({**batch, DRAW: torch.tensor(self.trainer.global_step + 1)}, batch_idx)

    def token_predictions(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of all tokens, the tokens, and whether each was chosen.

        Args:
            batch: A batch. Its optional entry `draw`, a number, chooses other tokens than those of evaluations.

        Returns:
            Logits `(batch, tokens, vocabulary)`, tokens and booleans `(batch, tokens)`.

        Raises:
            ValueError: If the mask token is not known.
        """
        if self.mask_token is None:
            raise ValueError("`mask_token`: expected a token before `setup`, got none. Give it to the module.")
        tokens = batch["input_ids"]
        special = torch.tensor([*self._special, self.mask_token], device=tokens.device)
        every = torch.arange(self._num_tokens, device=tokens.device)
        inputs, chosen = mask_tokens(
            tokens,
            batch["attention_mask"].bool() & ~torch.isin(tokens, special),
            self.mask_token,
            every[~torch.isin(every, special)],
            self.mask_probability,
            self.mask_shares,
            self.mask_seed,
            batch.get(DRAW, 0),
        )
        return self(inputs, batch["attention_mask"]), tokens, chosen
