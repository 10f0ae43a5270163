"""Disks that fill up at any byte: one line names a file, nothing half stays, and the resumed command gives the same."""

import random
from pathlib import Path

from harness import Kind, Outcome, Verdict
from kills import COMMANDS, Undisturbed, filled, prepare, undisturbed
from stopped_commands import run_command

#: Command -> number of trials. The limit holds for shared memory, too, without which torch's workers wait forever.
_TRIALS = {
    "mini": 4, "shards build": 6, "test": 6, "predict": 4, "fit": 6, "report": 4, "export": 4, "study, no workers": 2
}  # fmt: skip
#: Bytes that any file may have: the limit holds for the file of the command's messages, too, which tell how it ended.
_MESSAGES = 3000


def trial(known: dict[str, Undisturbed], subject: str, rng: random.Random, folder: Path) -> Verdict:
    """Run a command that may write no file beyond some size, and run it again without that limit."""
    command, whole = COMMANDS[subject], undisturbed(known, subject)
    arguments = filled(command.arguments, whole.data)
    largest = max((path.stat().st_size for path in whole.folder.rglob("*") if path.is_file()), default=1)
    limit = _MESSAGES + rng.randrange(min(largest, 200_000))
    ended = run_command(arguments, folder, limit=limit)
    if ended.exit_code is None or ended.orphans:
        return Verdict(Outcome.HANG, f"limit {limit}: {ended}")
    if ended.exit_code != 0:
        lines = [line for line in ended.errors.splitlines() if line.strip()]
        if "Traceback" in ended.errors or not lines:
            return Verdict(Outcome.CRASH, f"limit {limit}: {ended.errors[-400:]}")
        if not any(
            "/" in line or "." in line for line in lines if "File too large" in line or "lightning-vista" in line
        ):
            return Verdict(Outcome.UNNAMED, f"limit {limit}: {ended.errors[-400:]}")
    again = run_command([*arguments, *command.resumed(folder)], folder)
    if again.exit_code != 0:
        return Verdict(Outcome.CRASH, f"resumed after limit {limit}: {again.errors[-400:]}")
    if command.result(folder) != whole.result:
        return Verdict(Outcome.WRONG, f"resumed after limit {limit}")
    return Verdict(Outcome.SAME if ended.exit_code == 0 else Outcome.REFUSED)


KIND = Kind("full disk", _TRIALS, trial, prepare=prepare, sample=8)
