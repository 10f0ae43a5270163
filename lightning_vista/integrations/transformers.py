"""Gradient routing in the `Trainer` of transformers, and in trainers made from it, such as TRL's `SFTTrainer`."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jsonargparse
import torch
from torch import Tensor, nn

from lightning_vista.files.checkpoints import check_checkpoint, naming_checkpoint
from lightning_vista.files.documents import read_yaml
from lightning_vista.files.own_files import written_whole
from lightning_vista.optional import require
from lightning_vista.routing import ParameterRoute, Route, Router, RoutingError, Rule
from lightning_vista.routing.descriptions import describe_routes, differences
from lightning_vista.routing.masking import MaskWeightMode, check_annealing, warmup
from lightning_vista.routing.occurrences import Occurrences
from lightning_vista.routing.sharding import engine_faults
from lightning_vista.routing.strategies import DEFAULT_STRATEGY, StrategyName

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback
else:
    Trainer = object  # a mixin: the trainer itself is the other base class
    TrainerCallback = require("transformers", extra="trainer").TrainerCallback

_log = logging.getLogger(__name__)

#: Fields that collators of transformers turn into `labels`, so that they must stay in the samples too.
_LABELS = ("label", "label_ids")


class RoutingMixin(Trainer):
    """Gradient routing in the `Trainer` of transformers, by the routes of `GradientRouting` (arXiv 2410.04332).

    Write it in front of the trainer: `class RoutedTrainer(RoutingMixin, Trainer): pass`, or with TRL's `SFTTrainer`.
    Names of modules and parameters are those of the trainer's `model`. Everything else is the trainer's own, such as
    accumulation, activation checkpointing, mixed precision, `torch.compile` and several processes.

    The columns of the dataset that rules read reach the rules and not the model, whatever `remove_unused_columns` is:
    they are taken from the samples before the trainer's collator, stacked, and removed from the batch before the model.
    Rules find the trainer's tokenizer and training data as those of a datamodule.

    A checkpoint of the trainer also holds the state of rules (`routing.pt`). A run that resumes with other routes says
    so.

    Args:
        args: Arguments of the trainer.
        routes: The routes, see `GradientRouting`.
        mask_weight: The share of the mask that is applied, from 0 to 1.
        mask_weight_mode: The meaning of a share below 1, see `Router`.
        warmup_steps: The number of optimizer steps in which the mask weight rises from 0.
        strategy: The strategy, see `Router`.
        isolate_optimizer: Whether blocked units stay as they are in optimizer steps, see `GradientRouting`.
        kwargs: Arguments of the trainer.

    Raises:
        ValueError: If `mask_weight` is not from 0 to 1, or `warmup_steps` is below 0.
        RoutingError: If the trainer packs samples, or before the first step, if routes do not fit the model.

    Example:
        >>> from transformers import Trainer
        >>> class RoutedTrainer(RoutingMixin, Trainer):
        ...     pass
    """

    def __init__(
        self,
        *args: Any,
        routes: Sequence[Route | ParameterRoute],
        mask_weight: float = 1.0,
        mask_weight_mode: MaskWeightMode = "anneal",
        warmup_steps: int = 0,
        strategy: StrategyName = DEFAULT_STRATEGY,
        isolate_optimizer: bool = False,
        **kwargs: Any,
    ) -> None:
        check_annealing(mask_weight, warmup_steps)
        self.router = Router(routes, mask_weight, mask_weight_mode, strategy)
        self._rules = list({id(route.rule): route.rule for route in routes}.values())
        self.mask_weight, self.warmup_steps = mask_weight, warmup_steps
        self.isolate_optimizer = isolate_optimizer
        # As written: `setup` turns the words of rules into tokens.
        self._settings = {
            "strategy": strategy,
            "mask_weight": mask_weight,
            "mask_weight_mode": mask_weight_mode,
            "warmup_steps": warmup_steps,
            "isolate_optimizer": isolate_optimizer,
            **describe_routes(routes),
        }
        self._occurrences: Occurrences | None = None
        self._saved: Mapping[str, Any] = {}
        self._is_checked = False
        super().__init__(*args, **kwargs)
        if faults := list(self._faults()):
            raise RoutingError(faults)
        self._rule_fields = _fields_beside_model(self._rules, self.model)
        self.data_collator = RuleFieldCollator(self.data_collator, self._rule_fields)
        self.add_callback(_RoutingEvents(self))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train with routing; hooks exist until this ends, also by an exception."""
        try:
            return super().train(*args, **kwargs)
        finally:
            self.router.detach()

    def start_routing(self) -> None:
        """Register the hooks; the trainer calls it when model and optimizer are prepared, before the first batch.

        Raises:
            RoutingError: If routes do not fit the model.
        """
        self.router.detach()  # `auto_find_batch_size` starts again without an end
        source = SimpleNamespace(tokenizer=self.processing_class, train_dataloader=self.get_train_dataloader)
        for rule in self._rules:
            rule.setup(source)
        for rule, state in zip(self._rules, self._saved.get("rules", []), strict=False):
            rule.load_state_dict(state)
        self.router.attach(self.accelerator.unwrap_model(self.model), isolates=self.isolate_optimizer)
        optimizer: Any = self.optimizer
        self.router.guard(getattr(optimizer, "optimizer", optimizer))  # accelerate wraps it
        self._occurrences = Occurrences(self.router.routes)
        self._is_checked = False

    def report_groups(self) -> None:
        """Report once which groups the first epoch did not have; the trainer calls it at the end of each epoch."""
        occurrences, self._occurrences = self._occurrences, None
        if occurrences is not None:
            occurrences.agree(self.args.device)
            if self.is_world_process_zero():
                occurrences.warn("the first epoch")

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Weigh the regions for a batch, and do the trainer's step within."""
        self.router.mask_weight = self.mask_weight * warmup(self.state.global_step, self.warmup_steps)
        members = self.router.compute(inputs)
        if self._occurrences is not None:
            self._occurrences.add(inputs, members)
        try:
            loss = super().training_step(model, inputs, *args, **kwargs)
            if not self._is_checked:  # gradients of this backward pass only
                self._is_checked = self.router.check_backward()
        finally:
            self.router.clear()
        return loss

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Remove what only rules read from a batch on its way to the model, in training and evaluation."""
        return super()._prepare_inputs({key: value for key, value in inputs.items() if key not in self._rule_fields})

    def _set_signature_columns_if_needed(self) -> None:
        """Keep the columns that rules read when the trainer removes those that the model does not take."""
        super()._set_signature_columns_if_needed()
        columns: Any = self._signature_columns
        kept = list(dict.fromkeys([*columns, *self._rule_fields]))
        self._signature_columns = kept  # type: ignore[assignment] # None is all that is annotated

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        rules = [rule.state_dict() for rule in self._rules]
        with written_whole(self._state_file(output_dir)) as temporary:
            torch.save({"settings": self._settings, "rules": rules}, temporary)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = self._state_file(checkpoint)
        if not path.exists():
            _log.warning("This run resumes with routing that its checkpoint was trained without: %s", checkpoint)
            return
        self._saved = read_routing_state(path)
        if changed := differences(self._saved["settings"], self._settings):
            _log.warning("This run resumes with other routing than its checkpoint was trained with: %s", changed)

    def _state_file(self, folder: str) -> Path:
        """Return the file of the rules' state; each process has its own."""
        rank = f"_{self.args.process_index}" if self.args.world_size > 1 else ""
        return Path(folder) / f"routing{rank}.pt"

    def _faults(self) -> Iterator[str]:
        """Yield what keeps the trainer from routing."""
        state: Any = self.accelerator.state
        stage = state.deepspeed_plugin.zero_stage if self.is_deepspeed_enabled else 0
        is_fsdp1 = self.is_fsdp_enabled and getattr(state.fsdp_plugin, "fsdp_version", 1) == 1
        guards_steps = self.isolate_optimizer or any(isinstance(route, ParameterRoute) for route in self.router.routes)
        yield from engine_faults(is_fsdp1, stage, guards_steps)
        if getattr(self.args, "packing", False) or getattr(self.args, "padding_free", False):
            yield (
                "`packing`, `padding_free`: expected rows of one sample each, got rows of several, which may belong to "
                "different groups. Set both to False."
            )
        if self.args.n_gpu > 1:
            yield (
                f"`n_gpu`: expected one device for each process, got {self.args.n_gpu}, among which the trainer splits "
                "batches by `nn.DataParallel`. Start one process for each, by `torchrun` or `accelerate launch`."
            )


class RuleFieldCollator:
    """A collator that keeps the fields that rules read, beside those of another collator.

    Args:
        collator: The collator for all other fields.
        fields: The fields that rules read. Samples without them, such as those to evaluate, give batches without them.

    Example:
        >>> collate = RuleFieldCollator(lambda samples: {"count": len(samples)}, ["known"])
        >>> collate([{"known": 1, "text": "a"}, {"known": 0, "text": "b"}])
        {'count': 2, 'known': tensor([1, 0])}
    """

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]], fields: Sequence[str]) -> None:
        self.collator, self.fields = collator, list(fields)

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate samples.

        Raises:
            ValueError: If the values of a field are not of one shape.
        """
        kept = [field for field in self.fields if all(field in sample for sample in samples)]
        # Collators turn what they find into tensors of one width, and fail at strings.
        taken = [field for field in kept if field not in _LABELS]
        batch = self.collator([{key: sample[key] for key in sample if key not in taken} for sample in samples])
        return {**batch, **{field: _stack(field, [sample[field] for sample in samples]) for field in kept}}


class _RoutingEvents(TrainerCallback):
    """Calls the trainer at the events that it has no methods for."""

    def __init__(self, trainer: RoutingMixin) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Register the hooks."""
        self.trainer.start_routing()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report groups that do not occur."""
        self.trainer.report_groups()


def routing_from_yaml(path: str | Path) -> dict[str, Any]:
    """Read routes and their options from YAML, the text under `init_args` of the callback `GradientRouting`.

    Args:
        path: The file.

    Returns:
        The arguments for a trainer with `RoutingMixin`, such as `{"routes": [...], "isolate_optimizer": True}`.

    Raises:
        ValueError: If the file does not describe routes.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Router)
    parser.add_argument("--warmup_steps", type=jsonargparse.typing.NonNegativeInt, default=0)
    parser.add_argument("--isolate_optimizer", type=bool, default=False)
    content = read_yaml(path)
    try:
        parsed = parser.instantiate_classes(parser.parse_object(content))
    except jsonargparse.ArgumentError as error:
        raise ValueError(f"`{path}`: expected the routes of a trainer, got an error. Fix the file: {error}") from error
    return dict(parsed.items())


def read_routing_state(path: Path) -> dict[str, Any]:
    """Check and read the state of rules in a checkpoint of the trainer, `routing.pt`.

    Args:
        path: The file.

    Returns:
        The `settings` of the routing, and the `rules`' states.

    Raises:
        DamagedFileError: If the file is damaged.
    """
    check_checkpoint(path)
    with naming_checkpoint(path):
        state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def _fields_beside_model(rules: Sequence[Rule], model: Any) -> list[str]:
    """Return the fields that rules read and the model does not take."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # of peft
    taken = inspect.signature(base.forward).parameters
    fields = dict.fromkeys(str(field) for rule in rules for field in rule.fields)  # batches here are mappings
    return [field for field in fields if field not in taken]


def _stack(field: str, values: list[Any]) -> Any:
    """Return values as a tensor, or strings as a list."""
    if any(isinstance(value, str) for value in values):
        return values
    tensors = [torch.as_tensor(value) for value in values]
    if len({tensor.shape for tensor in tensors}) > 1:
        raise ValueError(
            f"`{field}`: expected values of one shape in a batch, got {sorted({tuple(t.shape) for t in tensors})}. Pad "
            "them in the dataset."
        )
    return torch.stack(tensors)
