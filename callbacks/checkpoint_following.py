"""The base class of callbacks that change a module's structure as the checkpoint to load says."""

from typing import Any

import lightning as L
from torch.utils.hooks import RemovableHandle


class CheckpointFollowing(L.Callback):
    """Base class of callbacks that add parts to a module in `setup`, unless a checkpoint lacks them.

    Checkpoints are loaded after `setup`, which is too late to ask them; so the structure follows while loading.
    """

    _handle: RemovableHandle | None = None

    def follow(self, module: L.LightningModule, before_loading: Any) -> None:
        """Call a function before a state is loaded into a module, until the run ends; it replaces an earlier one.

        Args:
            module: The module.
            before_loading: A hook of `register_load_state_dict_pre_hook`.
        """
        self._remove()
        register: Any = module.register_load_state_dict_pre_hook  # has no annotations
        self._handle = register(before_loading)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the hook from the module."""
        self._remove()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the hook from the module."""
        self._remove()

    def _remove(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
