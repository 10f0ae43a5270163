"""The commands of `lightning-vista`; the one file that joins the core with callbacks and datamodules, by name."""

import argparse
import importlib
import logging
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from lightning_vista import __version__
from lightning_vista.commands import CommandParser, add_commands
from lightning_vista.commands.command_options import add_export_options, add_shards_options
from lightning_vista.commands.error_lines import describe_error
from lightning_vista.commands.shipped_configs import find_config, with_config_paths
from lightning_vista.files.redaction import without_secrets
from lightning_vista.optional import require
from lightning_vista.processes.stopping import StopSignal, end_quietly, reader_is_gone, stop_signals

#: The commands that LightningCLI runs, with their help.
LIGHTNING_COMMANDS = {
    "fit": "train a model",
    "validate": "validate a model",
    "test": "score every (video, description) pair with a scorer; writes a run folder",
    "predict": "do the same without the true descriptions",
}


def main(args: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        args: The command and its arguments; those of the process by default.

    Raises:
        SystemExit: If an argument, file or address is wrong or a plugin raises, with a message; `--traceback` shows
            where. On Ctrl-C and SIGTERM with the exit codes 130 and 143 and a line that says how to resume. With 141,
            and quietly, if nobody reads the output any more.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    if args is None:
        sys.excepthook = _show_traceback
        if "" not in sys.path:
            sys.path.append("")  # a program lacks the current folder on its path, where `--model my.Scorer` may lie
    show_traceback = "--traceback" in arguments
    if show_traceback:
        arguments.remove("--traceback")
    try:
        with stop_signals(is_program=args is None):
            _run(arguments)
    except (StopSignal, KeyboardInterrupt) as stop:
        if show_traceback:
            raise
        end_quietly(stop if isinstance(stop, StopSignal) else StopSignal(signal.SIGINT), arguments)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and reader_is_gone():
            raise SystemExit(128 + signal.SIGPIPE) from error
        if show_traceback:
            raise
        raise SystemExit(f"lightning-vista: {_message(error)}") from error


def _message(error: Exception) -> str:
    """Return the message of an error, without what jsonargparse puts around it."""
    from lightning_vista.commands.lightning_errors import shortened

    text = str(error)
    return without_secrets(shortened(text)) if text.startswith("Does not validate") else describe_error(error)


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback without passwords and keys."""
    sys.stderr.write(without_secrets("".join(traceback.format_exception(kind, error, trace))))


def _run(arguments: list[str]) -> None:
    if arguments and arguments[0] in LIGHTNING_COMMANDS:
        run_lightning(arguments)
    elif arguments[:2] == ["routing", "check"]:
        run_routing_check(arguments[2:])
    else:
        options = _parser().parse(arguments)
        options.run(options)


def run_lightning(arguments: Sequence[str], callbacks: Sequence[Any] = ()) -> dict[str, float]:
    """Run `fit`, `validate`, `test` or `predict` with LightningCLI.

    Model and data are named by `class_path`, in YAML files or on the command line; those of this package also by the
    class's name. A scorer's `frame_spec` goes to the datamodule, and its results go to the loggers.

    Args:
        arguments: The command and its arguments.
        callbacks: Lightning callbacks to add to those of the configuration.

    Returns:
        The last value of everything that was logged, by name.
    """
    import lightning as L
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

    from lightning_vista.callbacks import Evaluation, LossLog, RunConfigCallback, ScoreLogging, WandbContinuation
    from lightning_vista.callbacks.wandb_continuation import continue_wandb_run, own_wandb_run
    from lightning_vista.commands.lightning_errors import class_names, explain
    from lightning_vista.commands.lightning_files import check_named_files, refuse_web_checkpoint, stopped_cleanly
    from lightning_vista.files.checkpoints import naming_checkpoint

    unavailable = _import_classes()

    class Parser(LightningArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            if not self.exit_on_error:  # a parser within another one, which may try something else
                super().error(message, ex)
            known = class_names([L.LightningModule, L.LightningDataModule, L.Callback])
            text = without_secrets(explain(message, self, unavailable, known))
            raise SystemExit(f"lightning-vista {arguments[0]}: {text}") from ex

    class CLI(LightningCLI):
        def _parse_ckpt_path(self) -> None:  # where Lightning first reads the checkpoint, for its hyper-parameters
            path = self.config[self.config.subcommand].get("ckpt_path")
            refuse_web_checkpoint(path)
            with naming_checkpoint(path):
                super()._parse_ckpt_path()

        def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
            trainer = super().instantiate_trainer(**kwargs)
            checkpoint = self.config.fit.ckpt_path if self.subcommand == "fit" else None
            # Training that does not resume begins a wandb run, also where an evaluation of the scorer has one.
            if self.subcommand == "test" or checkpoint is not None:
                continue_wandb_run(trainer, self.model, checkpoint)
            ends.enter_context(own_wandb_run(trainer))
            ends.enter_context(stopped_cleanly(trainer))
            return trainer

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_lightning_class_args(Evaluation, "evaluation")
            parser.link_arguments("model", "data.init_args.frame_spec", _frame_spec, apply_on="instantiate")

    check_named_files(arguments)
    logs = [ScoreLogging(), WandbContinuation(), *([LossLog()] if arguments[0] == "fit" else [])]
    load_plugins()
    with warnings.catch_warnings(), ExitStack() as ends:
        # Meant for scripts that mix both; here sys.argv is another program's when `main` is called from Python.
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        cli = CLI(
            L.LightningModule,
            L.LightningDataModule,
            save_config_callback=RunConfigCallback,
            trainer_defaults={"callbacks": [*logs, *callbacks]},
            seed_everything_default=0,
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=with_config_paths(arguments),
            parser_class=Parser,
        )
    return {name: float(value) for name, value in cli.trainer.callback_metrics.items()}


def _import_classes() -> dict[str, str]:
    """Import this package's classes, so that they are known by name; return those without their extra, and why."""
    unavailable = {}
    for room in ("datamodules", "models", "oversight", "routing", "scorers"):
        try:
            package = importlib.import_module(f"lightning_vista.{room}")
        except ModuleNotFoundError as error:
            unavailable[room] = str(error)
            continue
        for name in package.__all__:
            try:
                getattr(package, name)
            except ModuleNotFoundError as error:
                unavailable[name] = str(error)
    return unavailable


def load_plugins() -> None:
    """Import the entry points `lightning_vista.plugins` of other packages, so that their classes are known by name.

    Raises:
        ValueError: If one cannot be imported; names the package.
    """
    for plugin in entry_points(group="lightning_vista.plugins"):
        try:
            plugin.load()
        except (ImportError, AttributeError) as error:
            package = plugin.dist.name if plugin.dist else "unknown"
            raise ValueError(
                f"The plugin {plugin.name} = {plugin.value!r} of the package {package} cannot be loaded: {error}. "
                "Reinstall or uninstall that package."
            ) from error


def run_routing_check(arguments: Sequence[str]) -> None:
    """Check the routes of a configuration on the first batches and print what each group trains, without training.

    Args:
        arguments: The arguments of `fit`.
    """
    from rich.console import Console

    from lightning_vista.callbacks import RoutingCheck

    check = RoutingCheck()
    run_lightning(["fit", *arguments, "--trainer.fast_dev_run=true"], [check])
    Console().print(check.table(), check.occurrence_table())


def demo_command(options: argparse.Namespace) -> None:
    """Render the embedded dataset, pack it, score it with every offline scorer, report."""
    require("minigrid", "mini")  # first, since the extra `vista`, which other parts would name, is not enough
    import lightning as L

    from lightning_vista.callbacks import ProgressCurves
    from lightning_vista.datamodules import ViSTaDataModule
    from lightning_vista.evaluation import Evaluation
    from lightning_vista.mini import build_mini
    from lightning_vista.reports import write_report
    from lightning_vista.scorers import DualEncoderScorer, RandomScorer, VLMScorer
    from lightning_vista.vista.frame_order import CONTROLS
    from lightning_vista.vista.shards import build_shards

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no list of absent hardware
    warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated")  # lightning and a newer torch
    out = Path(options.out)
    print("1/4 rendering the embedded dataset")
    build_mini(out / "mini", scale=options.scale, splits=("test",))
    print("2/4 packing it into shards")
    build_shards(out / "mini" / "test" / "tasks", out / "mini" / "test" / "videos", out / "shards")
    print("3/4 scoring")
    # The trained scorers know the words of one world; the random one needs none.
    scorers: list[tuple[VLMScorer, str]] = [(RandomScorer(), "*")]
    scorers += [(DualEncoderScorer(head, weights="shipped"), "home/*") for head in ("mean", "temporal", "slot")]
    # One scorer with a module for order, and the same scorer without it.
    for name, without in (("dual-modular", []), ("dual-modular-cut", ["order"])):
        scorers.append((DualEncoderScorer(weights="shipped-order", without=without, name=name), "home/*"))
    for scorer, problem_sets in scorers:
        print(f"  {scorer.name} on {problem_sets}")
        data = ViSTaDataModule(str(out / "shards"), scorer.frame_spec, problem_sets=[problem_sets], batch_size=32)
        trainer = L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_model_summary=False,
            default_root_dir=out,
            callbacks=[] if isinstance(scorer, RandomScorer) else [Evaluation(controls=CONTROLS), ProgressCurves()],
        )
        trainer.test(scorer, data, verbose=False)
    print("4/4 reporting")
    write_report([out / "runs" / scorer.name for scorer, _ in scorers], out / "report", rescaling="none")


def mini_command(options: argparse.Namespace) -> None:
    """Render the embedded dataset."""
    from lightning_vista.mini import build_mini

    build_mini(options.dir, seed=options.seed, scale=options.scale, splits=tuple(options.splits))


def shards_command(options: argparse.Namespace) -> None:
    """Build, merge or verify shards, as the chosen command says."""
    from lightning_vista.vista import shards_command

    getattr(shards_command, f"run_{options.action}")(options)


def report_command(options: argparse.Namespace) -> None:
    """Write the tables and the page of score tables."""
    from lightning_vista.reports import write_report

    strict = not options.leave_out_unscored
    write_report(options.runs, options.out, rescaling=options.rescaling, strict=strict, against=options.against)


def export_command(options: argparse.Namespace) -> None:
    """Write the benchmark, score tables or progress curves for other tools."""
    from lightning_vista.reports import export_leaderboard, export_lerobot, export_lmms_eval

    if options.format == "lmms-eval":
        path = export_lmms_eval(options.shards, options.out, options.select, options.task)
        print(f"Task: {path}. Run: python -m lmms_eval --include_path {options.out} --tasks {options.task} --model ...")
    elif options.format == "leaderboard":
        rows = export_leaderboard(options.runs, options.dataset, options.out)
        print(f"{rows.height} rows of {rows['model'].n_unique()} model(s): {options.out}")
    else:
        rows = export_lerobot(options.runs, options.out)
        print(f"{rows.height} frames of {rows['episode_index'].n_unique()} episode(s): {options.out}")


def study_command(options: argparse.Namespace) -> None:
    """Do the runs of a study that are not finished, then write its table, figures and page."""
    from lightning_vista.study import read_study, running
    from lightning_vista.study.overrides import parse_overrides

    name = Path(options.study).stem + ("_smoke" if options.smoke else "")
    out = options.out or Path("runs", "studies", name)
    study = read_study(find_config(options.study, "studies"))
    study.overrides.update(parse_overrides("--set", options.set))
    page = running.run_study(
        study,
        out,
        run_lightning,
        options.jobs,
        smoke=options.smoke,
        full=options.full,
        allow_missing=options.allow_missing,
        command=_study_arguments(options),
    )
    print(f"Page: {page}")


def _study_arguments(options: argparse.Namespace) -> list[str]:
    """Return the arguments that make the same study again, wherever it is written."""
    switches = [f"--{name}" for name in ("smoke", "full") if getattr(options, name)]
    jobs = ["--jobs", str(options.jobs)] if options.jobs != 1 else []
    return ["study", options.study, *jobs, *switches, *(["--set", *options.set] if options.set else [])]


def _frame_spec(model: object) -> Any:  # a FrameSpec where the model is a scorer
    return getattr(model, "frame_spec", None)


def _parser() -> CommandParser:
    """Return the parser of the commands that are not Lightning's; its help lists those too."""
    parser = CommandParser(
        prog="lightning-vista",
        description="Gradient routing for any LightningModule, and ViSTa: can vision-language models judge tasks?",
        epilog="Every command has its own --help. --traceback shows where an error comes from.",
    )
    parser.add_argument("--version", action="version", version=f"lightning-vista {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in LIGHTNING_COMMANDS.items():
        commands.add_parser(name, help=f"{text} (LightningCLI: --config, --model, --data, --trainer)")
    _add_demo(commands)
    add_shards_options(commands, shards_command)
    _add_report(commands)
    add_export_options(commands, export_command)
    _add_study(commands)
    _add_routing(commands)
    add_commands(commands)
    return parser


def _add_demo(commands: Any) -> None:  # argparse's own type is private
    demo = commands.add_parser("demo", help="render the embedded dataset, pack it, score it and report")
    demo.add_argument("--out", default="demo", help="the folder to write (default: %(default)s)")
    demo.add_argument("--scale", type=float, default=1.0, help="how much of the dataset to render (default: 1)")
    demo.set_defaults(run=demo_command)
    mini = commands.add_parser("mini", help="render the embedded dataset in the official layout")
    mini.add_argument("dir", help="the folder to write")
    mini.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: %(default)s)")
    mini.add_argument("--scale", type=float, default=1.0, help="how many problem sets, 1 for about 1,000 test videos")
    mini.add_argument("--splits", nargs="+", default=["train", "val", "test"], help="which splits (default: all)")
    mini.set_defaults(run=mini_command)


def _add_report(commands: Any) -> None:  # argparse's own type is private
    report = commands.add_parser("report", help="tables and one page of run folders or score tables")
    report.add_argument("runs", nargs="+", metavar="RUN_OR_TABLE", help="run folders or scores.parquet files")
    report.add_argument("--rescaling", choices=("none", "video", "label", "both"), default="both")
    report.add_argument(
        "--leave-out-unscored", action="store_true", help="leave unscored videos out instead of counting them as wrong"
    )
    report.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="OLD",
        help="an earlier report (its folder or results.json), or earlier runs, to compare with",
    )
    report.add_argument("--out", required=True, help="the folder to write")
    report.set_defaults(run=report_command)


def _add_study(commands: Any) -> None:  # argparse's own type is private
    study = commands.add_parser("study", help="do several runs, then write one table, figures and a page")
    study.add_argument("study", metavar="YAML", help="the study's file, or a shipped one's name")
    study.add_argument("--out", help="the folder to write (default: runs/studies/NAME)")
    study.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores (default: 1)")
    study.add_argument("--smoke", action="store_true", help="quick trial with the study's `smoke` values and one seed")
    study.add_argument("--full", action="store_true", help="also do the runs that take long")
    study.add_argument("--allow-missing", action="store_true", help="leave out runs that lack a file, key or package")
    study.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override a value in all runs")
    study.set_defaults(run=study_command)


def _add_routing(commands: Any) -> None:  # argparse's own type is private
    routing = commands.add_parser("routing", help="inspect the routes of a configuration without training")
    actions = routing.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "check routes on one batch and show which group trains which parameters (options of fit)"
    actions.add_parser("check", help=text)
