"""LoRA adapters side by side on one model, for data of different groups."""

import re
from collections.abc import Mapping
from typing import Any

import lightning as L
from torch import Tensor, nn

from lightning_vista.callbacks.checkpoint_following import CheckpointFollowing
from lightning_vista.callbacks.finishing import find_pretrained
from lightning_vista.models.lora import adapter_names, add_adapters, cut_adapters


class Adapters(CheckpointFollowing):
    """LoRA adapters of peft on a module's model of transformers, added when a run is set up.

    All adapters are active and trained, and everything else of the model is frozen. Routes say which data trains which
    adapter: a `Route` on the modules `<layer>.lora_B.<name>` weighs each sample, and may switch an adapter off in the
    forward pass of a group; a `ParameterRoute` on `*.<name>.*` weighs batches of one group. `Ablation(adapters=...)`
    cuts an adapter off at the end.

    Adapters are added before checkpoints are loaded, optimizers made and routes attached, wherever the callback stands
    in the list, and once for each module. A checkpoint decides which of them there are: `ablated.ckpt` removes the
    adapters that it does not have.

    Args:
        names: The names of the adapters.
        config: Arguments of `peft.LoraConfig` for each of them, such as `{"r": 8, "target_modules": ["q_proj"]}`.

    Raises:
        ValueError: If names are missing or equal; at setup, if the module has no model of transformers, or peft refuses
            the config.
        ModuleNotFoundError: At setup, if peft is missing; the message names the extra.

    Example:
        >>> adapters = Adapters(["retain", "forget"], {"r": 8, "target_modules": ["q_proj", "v_proj"]})
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[adapters])
    """

    def __init__(self, names: list[str], config: dict[str, Any]) -> None:
        if not names or len(set(names)) < len(names) or any("." in name for name in names):
            raise ValueError(f"`names`: expected at least one name, different ones without dots, got {names}.")
        self.names, self.config = list(names), dict(config)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Add the adapters, unless the module has had them before, and prepare for checkpoints."""
        model = find_pretrained(pl_module)
        if model is None:
            raise ValueError(
                f"Adapters: expected a module with a model of transformers, got {type(pl_module).__name__}. The module "
                "must build its model in `__init__`."
            )
        # Kept on the module rather than here: another callback must know, and adapters that were cut stay so.
        known: set[str] = vars(pl_module).setdefault("known_adapters", set())
        add_adapters(model, [name for name in self.names if name not in known], self.config)
        known.update(self.names)

        def before_loading(module: nn.Module, state_dict: Mapping[str, Tensor], *_: object) -> None:
            self._follow(find_pretrained(module), state_dict)

        self.follow(pl_module, before_loading)

    def _follow(self, model: Any, tensors: Mapping[str, Tensor]) -> None:
        """Give a model those adapters that a checkpoint has."""
        kept = {found[1] for key in tensors if (found := re.search(r"\.lora_[A-Za-z_]+\.([^.]+)(?:\.|$)", key))}
        present = set(adapter_names(model))
        cut_adapters(model, [name for name in self.names if name in present - kept])
        add_adapters(model, [name for name in self.names if name in kept - present], self.config)
