"""Steering of a language model by one unit, and a measurement of its effect on generated texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from lightning_vista.files.own_files import write_csv, write_whole
from lightning_vista.files.run_files import run_files
from lightning_vista.models.token_losses import next_token_losses
from lightning_vista.processes.progress import progress_bar
from lightning_vista.routing.hooking import hook_tensor
from lightning_vista.routing.rules.tokens import encode
from lightning_vista.routing.steering import steering, unembedding_ranks


class SteeringScalar(L.Callback):
    """Steering of the tested language model: texts with increasing amounts added to one unit (gradient routing, 4.2.1).

    It needs a module whose `model` is a causal language model of transformers, and a datamodule with a `tokenizer` and
    `sample`, such as `StoriesDataModule`. Texts start like retain texts of the test data, longer than a prompt.

    It logs `test/steering/<coefficient>/concept`, `/target` and `/related`, the shares of generated tokens that are
    among all concept tokens, the targets, or the related ones alone. `/perplexity` is that of the generated tokens to
    the model without steering.
    `test/unembedding/target_rank` and `/concept_rank` are the mean ranks of the tokens' unembeddings by cosine to the
    unit, from 1. The ranking goes to `unembedding.csv`, and a text of each coefficient to `steered.txt`.

    Args:
        module: The plain name of the layer whose output is steered, such as `model.transformer.h.2`.
        targets: The tokens that were routed to the unit, as text or ids.
        related: Other tokens of the same concept, which were not routed.
        unit: The index of the unit along the last dimension.
        coefficients: The amounts to add, in multiples of the root mean square of the layer's output on the prompts,
            along the direction in which the first target's unembedding points.
        num_texts: The number of texts to generate for each coefficient.
        prompt_tokens: The number of tokens of a test text with which each generated text starts.
        new_tokens: The highest number of tokens to generate for each text.
        temperature: Sampling temperature.
        seed: Random seed for sampling.

    Raises:
        ValueError: If `targets` is empty; while testing, if the trainer lacks a datamodule, a word is not one token, or
            too few texts are long enough.

    Example:
        >>> steering = SteeringScalar("model.transformer.h.2", targets=["whale"], related=["sea", "dolphin"])
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[steering])
    """

    def __init__(
        self,
        module: str,
        targets: Sequence[str | int],
        related: Sequence[str | int] = (),
        unit: int = 0,
        coefficients: Sequence[float] = (0, 2, 4, 8, 16),
        num_texts: int = 100,
        prompt_tokens: int = 8,
        new_tokens: int = 60,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not targets:
            raise ValueError("`targets`: expected at least one target token, got none.")
        self.module, self.unit = module, unit
        self.targets, self.related = list(targets), list(related)
        self.coefficients = list(coefficients)
        self.num_texts, self.prompt_tokens, self.new_tokens = num_texts, prompt_tokens, new_tokens
        self.temperature, self.seed = temperature, seed

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a model that does not generate texts, such as a masked language model."""
        model = getattr(pl_module, "model", None)
        if not hasattr(model, "generate"):
            raise ValueError(
                f"SteeringScalar: expected a model that generates texts, got {type(model).__name__}. Use a causal one."
            )

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Rank the vocabulary, generate texts, and log their measures."""
        datamodule: Any = getattr(trainer, "datamodule", None)
        if datamodule is None:
            raise ValueError("SteeringScalar: expected a datamodule with test texts for prompts, got none.")
        targets, related = (_ids(tokens, datamodule) for tokens in (self.targets, self.related))
        concept = torch.cat([targets, related])
        unembedding = pl_module.model.get_output_embeddings().weight.detach()  # type: ignore[union-attr,operator]
        # The unit may mean the concept by negative values; steering goes where the target's unembedding points.
        sign = 1 if unembedding[targets[0], self.unit] >= 0 else -1
        ranks = unembedding_ranks(unembedding, self.unit, sign).cpu()
        pl_module.log("test/unembedding/target_rank", ranks[targets].float().mean())
        pl_module.log("test/unembedding/concept_rank", ranks[concept].float().mean())
        counted = {"concept": concept, "target": targets, **({"related": related} if self.related else {})}
        texts = self._steer(pl_module, datamodule, sign, counted)
        if trainer.is_global_zero:
            _write_files(run_files(trainer), ranks, concept, datamodule.tokenizer, texts)

    def _steer(
        self, module: L.LightningModule, datamodule: Any, sign: int, counted: dict[str, Tensor]
    ) -> dict[float, str]:
        """Log the shares of counted tokens at each coefficient, and return a text of each."""
        prompts = self._prompts(datamodule)
        scale = sign * _root_mean_square(module, self.module, prompts.to(module.device))
        texts = {}
        with progress_bar("steering", len(self.coefficients)) as advance:
            for coefficient in self.coefficients:
                written = self._write(module, datamodule.tokenizer, prompts, coefficient * scale)
                for name, tokens in counted.items():
                    module.log(f"test/steering/{coefficient:g}/{name}", _share(written, tokens))
                module.log(f"test/steering/{coefficient:g}/perplexity", _perplexity(module, written))
                texts[coefficient] = datamodule.tokenizer.decode(written.ids[0], skip_special_tokens=True)
                advance(1)
        return texts

    def _prompts(self, datamodule: Any) -> Tensor:
        """Return the beginnings of test texts, `(texts, tokens)`.

        Shorter texts are passed over: with their end and padding in a prompt, the model would continue after those.
        """
        wanted = count = self.num_texts
        while True:  # larger samples begin with the same texts
            try:
                texts = datamodule.sample("test", False, count, self.seed)
            except ValueError as error:
                raise ValueError(
                    f"`num_texts`, `prompt_tokens`: expected {wanted} test texts to retain with more than "
                    f"{self.prompt_tokens} tokens, got fewer. Lower one of the two, or give more texts."
                ) from error
            is_long = texts["attention_mask"][:, self.prompt_tokens :].any(dim=1)
            if (missing := wanted - int(is_long.sum())) <= 0:
                prompts: Tensor = texts["input_ids"][is_long][:wanted, : self.prompt_tokens]
                return prompts
            count += missing

    @torch.no_grad()
    def _write(self, module: L.LightningModule, tokenizer: Any, prompts: Tensor, amount: float) -> "Written":
        """Generate texts with an amount added to the unit."""
        model: Any = module.model
        prompts, end = prompts.to(module.device), tokenizer.eos_token_id
        with torch.random.fork_rng(), steering(module, self.module, amount, self.unit):
            torch.manual_seed(self.seed)
            ids = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=True,
                temperature=self.temperature,
                top_k=0,
                max_new_tokens=self.new_tokens,
                eos_token_id=end,
                pad_token_id=tokenizer.pad_token_id,
            )
        # The first end token and everything after it, which is padding, does not count.
        # An end token in the prompt is another matter: some tokenizers begin texts with the same token.
        is_end = ids == (-1 if end is None else end)
        is_end[:, : prompts.shape[1]] = False
        is_new = is_end.cumsum(dim=1) == 0
        is_new[:, : prompts.shape[1]] = False
        return Written(ids, is_new)


class Written(NamedTuple):
    """Texts that a model generated.

    Attributes:
        ids: Their tokens, prompts first `(texts, tokens)`.
        is_new: Whether the model generated a token, before the end of the text `(texts, tokens)`.
    """

    ids: Tensor
    is_new: Tensor


def _ids(tokens: Sequence[str | int], datamodule: Any) -> Tensor:
    ids = [[token] if isinstance(token, int) else encode(token, datamodule) for token in tokens]
    if long := [token for token, parts in zip(tokens, ids, strict=True) if len(parts) != 1]:
        raise ValueError(f"`targets`, `related`: expected words that are one token each, got {long}.")
    return torch.tensor([part for parts in ids for part in parts], dtype=torch.long)


@torch.no_grad()
def _root_mean_square(module: L.LightningModule, layer: str, prompts: Tensor) -> float:
    """Compute the root mean square of the entries of a layer's output."""
    squares: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        squares.append(x.float().square().mean())
        return x

    handle = hook_tensor(module.get_submodule(layer), "output", note, layer)
    try:
        module(prompts)
    finally:
        handle.remove()
    return float(squares[0].sqrt())


def _share(written: Written, tokens: Tensor) -> Tensor:
    return torch.isin(written.ids, tokens.to(written.ids.device))[written.is_new].float().mean()


@torch.no_grad()
def _perplexity(module: L.LightningModule, written: Written) -> Tensor:
    losses = next_token_losses(module(written.ids), written.ids)
    return losses[written.is_new[:, 1:]].mean().exp()


def _write_files(folder: Path, ranks: Tensor, concept: Tensor, tokenizer: Any, texts: dict[float, str]) -> None:
    lines = "".join(f"{coefficient:g}: {text}\n" for coefficient, text in texts.items())
    write_whole(folder / "steered.txt", lines)
    chosen = set(concept.tolist())
    rows = [
        [int(ranks[token]), tokenizer.convert_ids_to_tokens(token), int(token in chosen)]
        for token in ranks.argsort().tolist()[: len(tokenizer)]
    ]
    write_csv(folder / "unembedding.csv", [["rank", "token", "of_concept"], *rows], line_end="\r\n")
