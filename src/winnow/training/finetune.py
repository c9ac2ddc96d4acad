"""Fine-tune a model on one seed's mix, with the transformers Trainer: a killed training ends with the same bytes."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from transformers.trainer_callback import PrinterCallback

from winnow.records.tokens import TokenTable
from winnow.training.data import Rows, collate
from winnow.training.packing import pack, require_packing
from winnow.training.plan import Plan, arguments
from winnow.training.portable import keep_what_is_portable
from winnow.training.recorder import Recorder
from winnow.training.trainer import TOLD, Course, OrderedTrainer

HISTORY = "history.parquet"
COST = "cost.json"


def train(model: Any, tokens: TokenTable, plan: Plan, report: Callable[..., None]) -> dict[str, float]:
    """Train ``model`` in place; leave weights, checkpoints and history in the plan's folder; return the cost."""
    if (plan.folder / HISTORY).exists():
        return _finish_interrupted(model, plan)
    rows = Rows(tokens, plan.order)
    trainer = make_trainer(model, rows, plan)
    course = Course(trainer, report)
    trainer.add_callback(course)
    last = _last_checkpoint(plan.folder)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model()
    cost = {"seconds": course.seconds, "tokens_per_second": rows.tokens() / course.seconds}
    if trainer.is_world_process_zero():
        (plan.folder / COST).write_text(json.dumps(cost))
        _write_history(trainer.state.log_history, plan.folder / HISTORY)
        keep_what_is_portable(model, plan)
    trainer.accelerator.free_memory()
    return cost


def make_trainer(model: Any, rows: Rows, plan: Plan) -> OrderedTrainer:
    """The trainer of a plan, which saves and tells what its callbacks say."""
    if plan.params.packing:
        require_packing(model, rows, plan.pad_id)
    layout = pack if plan.params.packing else collate
    trainer = OrderedTrainer(
        plan,
        Recorder(plan.folder, int(os.environ.get("RANK", "0"))) if plan.record else None,
        model=model,
        args=arguments(plan),
        train_dataset=rows,
        data_collator=partial(layout, pad_id=plan.pad_id, weights=plan.weights),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _finish_interrupted(model: Any, plan: Plan) -> dict[str, float]:
    """The training was complete when it was killed; its history is written last."""
    keep_what_is_portable(model, plan)
    return dict(json.loads((plan.folder / COST).read_text()))


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole: the trainer's state is written last."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except ValueError:
        return False


def _write_history(log: list[dict[str, Any]], path: Path) -> None:
    rows = [entry for entry in log if "loss" in entry]
    columns = {"step": "step", "loss": "loss", "learning_rate": "lr", "grad_norm": "grad_norm"}
    scratch = path.with_suffix(".writing")
    table = pd.DataFrame(rows)[list(columns)].rename(columns=columns)
    told = pd.DataFrame([entry.get(TOLD, {}) for entry in rows])
    # A resumed log has its names in another order.
    pd.concat([table, told.sort_index(axis=1)], axis=1).to_parquet(scratch, index=False)
    scratch.replace(path)
