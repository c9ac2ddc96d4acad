"""What to say of a worker that ended without a result: the last words of the process that failed first."""

import re
import signal
from itertools import takewhile

from winnow.errors import WorkerFailed
from winnow.workers.job import LOG, Job
from winnow.workers.memory import remedies

LAST_LINES = 20
# What the launcher of several processes says of one that was killed, and of the one that ended first.
KILLED = re.compile(r"exitcode\s*: -9|Signal 9")
FIRST = re.compile(r"Root Cause .*?^ *rank +: (\d+).*?^ *exitcode +: (-?\d+)", re.MULTILINE | re.DOTALL)
# After a worker's own last words its launcher tells at length that it ended.
LAUNCHER = "torch/distributed/elastic/"


def failed(job: Job, command: str, exit_code: int) -> WorkerFailed:
    """The error for a worker without a result."""
    log = job.folder / LOG
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    killed = exit_code == -signal.SIGKILL or KILLED.search(text)
    hint = f"Killed from outside; if memory ran out, these take less:\n{remedies(job)}\n" if killed else ""
    first = FIRST.search(text)
    which = f"Process {first[1]} failed first, with exit code {first[2]}.\n" if first else ""
    return WorkerFailed(
        f"The worker for {job.stage} ended with exit code {exit_code} and no result. Committed shards are kept; the "
        f"next run goes on from them.\n{hint}{which}Command: {command}\nLog: {log}\nIts last lines:\n"
        + "\n".join(last_words(text)[-LAST_LINES:])
    )


def last_words(text: str) -> list[str]:
    """A worker's log without what its launcher tells, and without the other processes' loss of the one that failed."""
    lines = text.splitlines()
    own = list(takewhile(lambda line: LAUNCHER not in line, lines)) or lines
    first = FIRST.search(text)
    if not first or not any(line.startswith(f"[rank{first[1]}]") for line in own):
        return own
    return [line for line in own if line.startswith(f"[rank{first[1]}]") or not line.startswith("[rank")]
