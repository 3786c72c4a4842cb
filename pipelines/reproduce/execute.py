"""Run steps as the commands they are, each in a process of its own; what is done is passed over."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired

from pipelines.interrupt import StopRequest
from pipelines.reproduce.steps import Step
from viral.errors import ViralError

POLL_SECONDS = 0.2
INTERRUPTED = 130
Say = Callable[[str], None]


class StepError(ViralError, RuntimeError):
    """A step's command failed; it has said why."""


def run_steps(steps: Sequence[Step], launcher: Sequence[str], say: Say) -> None:
    """Run what is not done, in order; the first failure ends it.

    Raises:
        StepError: a command failed, or ended well without its result.
        KeyboardInterrupt: SIGINT or SIGTERM, after the running command has saved what it can.
    """
    for number, step in enumerate(steps, 1):
        place = f"[{number}/{len(steps)}] {step.name}"
        if step.is_done():
            say(f"{place}: done")
            continue
        say(f"{place}: {step.line(launcher)}")
        code = run_viral(step.command, launcher if step.is_training else ())
        if code:
            raise StepError(
                f"{step.name} failed with exit code {code}; mend what it says above, or remove {step.output} to have "
                "it made anew. The same command then goes on from there."
            )
        if not step.is_done():
            raise StepError(
                f"{step.name} ended without an error, yet {step.output} is not what it should be: damaged, or made "
                "from something else. Remove it, and run the same command again."
            )


def run_viral(words: Sequence[str], launcher: Sequence[str] = ()) -> int:
    """Run `viral` with these words; returns its exit code. A signal to us is passed on, once.

    Raises:
        StepError: the console script or the launcher is not installed.
        KeyboardInterrupt: we were asked to stop, and the command has ended.
    """
    tools = Path(sys.executable).parent
    search = os.pathsep.join([str(tools), os.environ.get("PATH", os.defpath)])
    command = [*launcher, str(_program("viral", search)), *words]
    command[0] = str(_program(command[0], search))
    watched = [sys.executable, "-P", "-m", "pipelines.reproduce.child", str(os.getpid()), *command]
    # A group of its own: a terminal's Ctrl-C would reach it beside the signal that we pass on, and a second signal
    # makes a training run give up instead of saving.
    with StopRequest() as stop, Popen(watched, stdin=DEVNULL, process_group=0) as child:
        told = False
        while True:
            try:
                code = child.wait(POLL_SECONDS)
                break
            except TimeoutExpired:
                if stop.requested and not told:
                    child.send_signal(signal.SIGTERM)
                    told = True
    if stop.requested or code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _program(name: str, search: str) -> Path:
    """Of this installation first, then of the system.

    Raises:
        StepError: there is none.
    """
    found = shutil.which(name, path=search)
    if found is None:
        raise StepError(
            f"No program {name!r} beside {sys.executable} or in PATH; install it, or see --launcher."
        )
    return Path(found)
