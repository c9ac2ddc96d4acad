"""Tasks of lm-evaluation-harness, asked of a model that is loaded already.

The harness makes the requests and scores the responses; only the responses in between are made in shards, which are
committed one by one and shared among processes. Shards are runs of the batches that the harness itself would make, so
that kills and processes change nothing. Where a task samples, each shard has a seed of its own for that.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from winnow.errors import MissingResource
from winnow.params import EvaluateParams
from winnow.stages import PARTS, Work

BATCHES_PER_SHARD = 4
RESPONSES = f"{PARTS}/responses"
Answer = Callable[..., list[Any]]


@dataclass(frozen=True)
class Sharing:
    """Where shards are committed, which of them this process makes, and how it meets the others."""

    work: Work
    rank: int
    world_size: int
    meet: Callable[[], None]
    report: Callable[[int, int], None]


class SharedHarness(HFLM):
    """The harness's own model, whose responses are made in shards."""

    def __init__(self, sharing: Sharing, batch: int, **options: Any) -> None:
        super().__init__(batch_size=batch, **options)
        self.sharing = sharing

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """How likely each continuation is, and whether greedy decoding would give it."""
        found = self._in_shards(super().loglikelihood, requests)
        return [(float(likelihood), bool(greedy)) for likelihood, greedy in found]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """How likely whole texts are."""
        return self._in_shards(super().loglikelihood_rolling, requests)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy or sampled continuations, as the task says."""
        return self._in_shards(super().generate_until, requests)

    def _in_shards(self, answer: Answer, requests: Sequence[Instance]) -> list[Any]:
        shards = self._planned(requests)
        names = [_name(number, [requests[place] for place in shard]) for number, shard in enumerate(shards)]
        for number, (name, shard) in enumerate(zip(names, shards, strict=True)):
            if number % self.sharing.world_size == self.sharing.rank and not self.sharing.work.is_committed(name):
                # What is sampled depends on the shard alone, not on what this process answered before.
                torch.manual_seed(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
                responses = answer([requests[place] for place in shard], disable_tqdm=True)
                self.sharing.work.commit(name, partial(_write, json.dumps(responses)))
            self.sharing.report(number + 1, len(shards))
        self.sharing.meet()
        found: list[Any] = [None] * len(requests)
        for name, shard in zip(names, shards, strict=True):
            for place, response in zip(shard, json.loads((self.sharing.work.path / name).read_text()), strict=True):
                found[place] = response
        return found

    def _planned(self, requests: Sequence[Instance]) -> list[list[int]]:
        """Places of requests in the order in which the harness answers them, a few batches to a shard.

        Requests with the same context stay together: the harness makes one pass for all of a question's choices.
        """
        alike: dict[str, dict[str, list[int]]] = {}
        for place, request in enumerate(requests):
            context, *rest = request.args
            options = json.dumps(rest, sort_keys=True) if request.request_type == "generate_until" else ""
            alike.setdefault(options, {}).setdefault(context, []).append(place)
        size = BATCHES_PER_SHARD * int(self.batch_size)
        shards = []
        for contexts in alike.values():
            lengths = {context: len(self.tok_encode(context)) for context in contexts}
            ordered = sorted(contexts, key=lambda context: (-lengths[context], context))
            runs = (ordered[start : start + size] for start in range(0, len(ordered), size))
            shards += [[place for context in run for place in contexts[context]] for run in runs]
        return shards


def ask_tasks(lm: SharedHarness, manager: TaskManager, shots: int | None, params: EvaluateParams) -> dict[str, Any]:
    """Results and samples of all tasks, by one call of the harness; nothing on processes that do not report."""
    try:
        found = simple_evaluate(
            lm,
            tasks=list(params.tasks),
            num_fewshot=shots,
            limit=params.task_limit,
            apply_chat_template=params.apply_chat_template,
            fewshot_as_multiturn=params.apply_chat_template,
            task_manager=manager,
        )
    except (ConnectionError, FileNotFoundError) as error:
        raise MissingResource(
            f"The data of a task of `evaluate.tasks` ({', '.join(params.tasks)}) is not here: "
            f"{(str(error).splitlines() or [type(error).__name__])[0]}. A task of lm-eval's own asks the hub: load it "
            "where there is a network (`hf download NAME --repo-type dataset`, or one run of the task), and bring "
            "HF_HOME along; or give the files that you have, by `evaluate.data` or a task YAML in "
            "`evaluate.include_path`."
        ) from error
    return dict(found or {})


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _name(number: int, requests: Sequence[Instance]) -> str:
    """A shard is called after what it answers, so that a hub's new version of a task is not taken for the old."""
    asked = json.dumps([[request.request_type, request.args] for request in requests], default=str)
    return f"{RESPONSES}/{hashlib.sha256(asked.encode()).hexdigest()[:16]}-{number:05}.json"
