"""Every command of `lightning-vista`; the one file that joins the core with callbacks and datamodules, by name."""

import argparse
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

from lightning_vista import __version__

#: The commands that LightningCLI runs, with their help.
LIGHTNING_COMMANDS = {
    "fit": "train a model",
    "validate": "validate a model",
    "test": "score every (video, description) pair with a judge; writes a run folder",
    "predict": "the same without the true descriptions",
}
#: Options that scorers had before the run became a callback.
_MOVED = ("run_dir", "rescaling", "strict", "dry_run")


def main(args: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        args: The command and its arguments; those of the process by default.

    Raises:
        SystemExit: With a message, if the command is given something wrong; `--traceback` shows where.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    show_traceback = "--traceback" in arguments
    if show_traceback:
        arguments.remove("--traceback")
    try:
        if arguments and arguments[0] in LIGHTNING_COMMANDS:
            run_lightning(arguments)
        elif arguments[:2] == ["routing", "check"]:
            run_routing_check(arguments[2:])
        else:
            options = _parser().parse_args(arguments)
            options.run(options)
    except (ValueError, OSError) as error:
        if show_traceback:
            raise
        raise SystemExit(f"lightning-vista: {error}") from error


def run_lightning(arguments: Sequence[str], callbacks: Sequence[Any] = ()) -> dict[str, float]:
    """Run `fit`, `validate`, `test` or `predict` with LightningCLI.

    Model and data are named by `class_path`, in YAML files or on the command line; ours also by the class's name. A
    scorer's `frame_spec` goes to the datamodule, and what it finds to the loggers.

    Args:
        arguments: The command and its arguments.
        callbacks: Lightning callbacks to add to those of the configuration.

    Returns:
        What was logged last, by name.
    """
    import lightning as L
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

    import lightning_vista.datamodules
    import lightning_vista.models
    import lightning_vista.oversight
    import lightning_vista.routing
    import lightning_vista.scorers  # noqa: F401 # makes its classes known by name
    from lightning_vista.callbacks import Evaluation, RunConfigCallback, ScoreLogging

    class Parser(LightningArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            super().error(f"{message}{_moved(message)}", ex)

    class CLI(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_lightning_class_args(Evaluation, "evaluation")
            parser.link_arguments("model", "data.init_args.frame_spec", _frame_spec, apply_on="instantiate")

    load_plugins()
    with warnings.catch_warnings(), _own_wandb_run():
        # Meant for scripts that mix both; here sys.argv is another program's when `main` is called from Python.
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        cli = CLI(
            L.LightningModule,
            L.LightningDataModule,
            save_config_callback=RunConfigCallback,
            trainer_defaults={"callbacks": [ScoreLogging(), *callbacks]},
            seed_everything_default=0,
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=list(arguments),
            parser_class=Parser,
        )
    return {name: float(value) for name, value in cli.trainer.callback_metrics.items()}


def load_plugins() -> None:
    """Import what other packages name under the entry points `lightning_vista.plugins`, so that it is known by name.

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
    """Check the routes of a configuration on one batch and print what each group reaches; nothing is trained.

    Args:
        arguments: Those of `fit`.
    """
    from rich.console import Console

    from lightning_vista.callbacks import RoutingCheck

    check = RoutingCheck()
    run_lightning(["fit", *arguments, "--trainer.fast_dev_run=true"], [check])
    Console().print(check.table())


def demo_command(options: argparse.Namespace) -> None:
    """Render the embedded dataset, pack it, score it with every offline scorer, report."""
    import lightning as L

    from lightning_vista.datamodules import ViSTaDataModule
    from lightning_vista.mini import build_mini
    from lightning_vista.reports import write_report
    from lightning_vista.scorers import DualEncoderScorer, RandomScorer, VLMScorer
    from lightning_vista.vista.shards import build_shards

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # not what hardware there is not
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
    for scorer, problem_sets in scorers:
        print(f"  {scorer.name} on {problem_sets}")
        data = ViSTaDataModule(str(out / "shards"), scorer.frame_spec, problem_sets=[problem_sets], batch_size=32)
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_model_summary=False, default_root_dir=out)
        trainer.test(scorer, data, verbose=False)
    print("4/4 reporting")
    write_report([out / "runs" / scorer.name for scorer, _ in scorers], out / "report", rescaling="none")


def mini_command(options: argparse.Namespace) -> None:
    """Render the embedded dataset."""
    from lightning_vista.mini import build_mini

    build_mini(options.dir, seed=options.seed, scale=options.scale, splits=tuple(options.splits))


def shards_build_command(options: argparse.Namespace) -> None:
    """Pack a dataset of the official layout into shards."""
    from lightning_vista.video import FrameSpec
    from lightning_vista.vista.shards import build_shards

    if (options.frames is None) != (options.size is None):
        raise ValueError("--frames and --size come together: how many frames of each video, and their edge in pixels.")
    frames = None if options.frames is None else FrameSpec(options.frames, options.sampling, options.size)
    index = build_shards(
        options.tasks,
        options.videos,
        options.out,
        select=options.select,
        max_shard_mb=options.max_shard_mb,
        missing=options.missing,
        frames=frames,
        overwrite=options.overwrite,
        num_workers=options.workers,
    )
    print(f"{index.summary()} in {options.out}")
    for skipped in index.problem_sets.skipped:
        print(f"  not a problem set: {skipped.path}: {skipped.reason}")
    for skipped in index.skipped:
        print(f"  left out: {skipped.path}: {skipped.reason}")


def shards_verify_command(options: argparse.Namespace) -> None:
    """Check finished shards."""
    from lightning_vista.vista.shards import verify_shards

    print(f"{verify_shards(options.dir, num_workers=options.workers).summary()} in {options.dir}: all unchanged")


def report_command(options: argparse.Namespace) -> None:
    """Make tables and a page of score tables."""
    from lightning_vista.reports import write_report

    write_report(options.runs, options.out, rescaling=options.rescaling, strict=not options.leave_out_unscored)


def study_command(options: argparse.Namespace) -> None:
    """Do what is left of a study's runs, then write its table, figures and page."""
    import yaml

    from lightning_vista.study import read_study, running

    name = Path(options.study).stem + ("_smoke" if options.smoke else "")
    out = options.out or Path("runs", "studies", name)
    study = read_study(options.study)
    study.overrides.update(yaml.safe_load("\n".join(option.replace("=", ": ", 1) for option in options.set)) or {})
    page = running.run_study(
        study,
        out,
        run_lightning,
        options.jobs,
        smoke=options.smoke,
        full=options.full,
        allow_missing=options.allow_missing,
    )
    print(f"Page: {page}")


@contextmanager
def _own_wandb_run() -> Iterator[None]:
    """End the wandb run that a command starts: the next command of this process would else go on in it."""
    before = getattr(sys.modules.get("wandb"), "run", None)
    exit_code = 1
    try:
        yield
        exit_code = 0
    finally:
        run = getattr(sys.modules.get("wandb"), "run", None)
        if run is not None and run is not before:
            run.finish(exit_code)


def _moved(message: str) -> str:
    """Say where options have gone that an error does not know any more."""
    found = [option for option in _MOVED if re.search(rf"\b{option}\b", message)]
    return "".join(f" `{option}` is now `evaluation.{option}` (`--evaluation.{option}`)." for option in found)


def _frame_spec(model: object) -> Any:  # a FrameSpec where the model is a scorer
    return getattr(model, "frame_spec", None)


def _parser() -> argparse.ArgumentParser:
    """The parser of the commands that are not Lightning's; it lists those too."""
    parser = argparse.ArgumentParser(
        prog="lightning-vista",
        description="Gradient routing on any LightningModule, and ViSTa: vision-language models as judges of tasks.",
        epilog="Every command has its own --help. --traceback shows where an error comes from.",
    )
    parser.add_argument("--version", action="version", version=f"lightning-vista {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in LIGHTNING_COMMANDS.items():
        commands.add_parser(name, help=f"{text} (LightningCLI: --config, --model, --data, --trainer)")
    _add_demo(commands)
    _add_shards(commands)
    _add_report(commands)
    _add_study(commands)
    _add_routing(commands)
    return parser


def _add_demo(commands: Any) -> None:  # argparse's own type is private
    demo = commands.add_parser("demo", help="the whole job on the embedded dataset: render, pack, score, report")
    demo.add_argument("--out", default="demo", help="the folder to write (default: %(default)s)")
    demo.add_argument("--scale", type=float, default=1.0, help="how much of the dataset to render (default: 1)")
    demo.set_defaults(run=demo_command)
    mini = commands.add_parser("mini", help="render the embedded dataset in the official layout")
    mini.add_argument("dir", help="the folder to write")
    mini.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: %(default)s)")
    mini.add_argument("--scale", type=float, default=1.0, help="how many problem sets, 1 for about 1,000 test videos")
    mini.add_argument("--splits", nargs="+", default=["train", "val", "test"], help="which splits (default: all)")
    mini.set_defaults(run=mini_command)


def _add_shards(commands: Any) -> None:  # argparse's own type is private
    shards = commands.add_parser("shards", help="build or verify WebDataset shards")
    actions = shards.add_subparsers(title="commands", metavar="COMMAND", required=True)
    build = actions.add_parser("build", help="pack problem sets and their videos into shards")
    build.add_argument("tasks", help="the folder of the problem sets (`tasks`)")
    build.add_argument("videos", help="the folder of the videos: <environment>/<path> below it")
    build.add_argument("out", help="the folder to write")
    build.add_argument("--select", nargs="+", default=["*"], metavar="GLOB", help="only problem sets with such ids")
    build.add_argument("--max-shard-mb", type=float, default=128, help="size of a shard (default: %(default)s)")
    build.add_argument("--missing", choices=("error", "skip"), default="error", help="absent or undecodable videos")
    build.add_argument("--frames", type=int, help="store this many frames as JPEG images instead of the videos")
    build.add_argument("--size", type=int, help="their height and width in pixels")
    build.add_argument("--sampling", choices=("uniform", "stride"), default="uniform", help="which frames")
    build.add_argument("--overwrite", action="store_true", help="replace a finished build of something else")
    build.add_argument("--workers", type=int, help="threads (default: one per core)")
    build.set_defaults(run=shards_build_command)
    verify = actions.add_parser("verify", help="check every sample against the index and decode its ends")
    verify.add_argument("dir", help="the folder, or address, of the shards")
    verify.add_argument("--workers", type=int, help="threads (default: one per core)")
    verify.set_defaults(run=shards_verify_command)


def _add_report(commands: Any) -> None:  # argparse's own type is private
    report = commands.add_parser("report", help="tables and one page of run folders or score tables")
    report.add_argument("runs", nargs="+", metavar="RUN_OR_TABLE", help="run folders, or scores.parquet files")
    report.add_argument("--rescaling", choices=("none", "video", "label", "both"), default="both")
    report.add_argument("--leave-out-unscored", action="store_true", help="do not count unscored videos as wrong")
    report.add_argument("--out", required=True, help="the folder to write")
    report.set_defaults(run=report_command)


def _add_study(commands: Any) -> None:  # argparse's own type is private
    study = commands.add_parser("study", help="several runs in turn -> one table, figures and page")
    study.add_argument("study", metavar="YAML", help="the study's file, such as those of configs/studies")
    study.add_argument("--out", help="the folder to write (default: runs/studies/NAME)")
    study.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores (default: 1)")
    study.add_argument("--smoke", action="store_true", help="a quick trial: the study's `smoke` values, one seed")
    study.add_argument("--full", action="store_true", help="also the runs that take long")
    study.add_argument(
        "--allow-missing", action="store_true", help="go on without runs that miss a file, key or package"
    )
    study.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override a value in all runs")
    study.set_defaults(run=study_command)


def _add_routing(commands: Any) -> None:  # argparse's own type is private
    routing = commands.add_parser("routing", help="what the routes of a configuration do, without training")
    actions = routing.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "check routes on one batch; which group reaches which parameters (LightningCLI, as fit)"
    actions.add_parser("check", help=text)
