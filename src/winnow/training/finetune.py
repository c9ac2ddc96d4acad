"""Fine-tune a model on one seed's mix, with the transformers Trainer: a killed training ends with the same bytes."""

import json
import os
import shutil
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
from winnow.training.portable import ENGINE, keep_what_is_portable
from winnow.training.recorder import Recorder
from winnow.training.trainer import CLOCK, TOLD, Course, OrderedTrainer

HISTORY = "history.parquet"
COST = "cost.json"


def train(model: Any, tokens: TokenTable, plan: Plan, report: Callable[..., None]) -> dict[str, float]:
    """Train ``model`` in place; leave weights, checkpoints and history in the plan's folder; return the cost."""
    if plan.is_main:
        _begin(plan)
    # What is there now stays as it is until all processes have seen it.
    plan.barrier()
    if not (plan.folder / HISTORY).exists():
        _train(model, Rows(tokens, plan.order), plan, report)
    plan.barrier()
    # Behind the next barrier the main process may move the folder to where finished results lie.
    cost = json.loads((plan.folder / COST).read_text())
    if plan.is_main:
        keep_what_is_portable(model, plan)
    plan.barrier()
    return dict(cost)


def _begin(plan: Plan) -> None:
    """Note the engine; checkpoints that another one left cannot be gone on from, and the training begins anew."""
    machine = plan.machine
    layout = f"{machine.engine} {machine.processes}" if machine.engine.startswith("zero") else machine.engine
    note = plan.folder / ENGINE
    if note.exists() and note.read_text() != layout and not (plan.folder / HISTORY).exists():
        for found in plan.folder.glob("checkpoint-*"):
            shutil.rmtree(found)
        parts = ("recorded-*", "validation-*", "samples-*", CLOCK)
        for found in [file for pattern in parts for file in plan.folder.glob(pattern)]:
            found.unlink()
    if not (plan.folder / HISTORY).exists():
        note.write_text(layout)


def _train(model: Any, rows: Rows, plan: Plan, report: Callable[..., None]) -> None:
    trainer = make_trainer(model, rows, plan)
    course = Course(trainer, report)
    trainer.add_callback(course)
    last = _last_checkpoint(plan.folder)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model()
    cost = {"seconds": course.seconds, "tokens_per_second": rows.tokens() / course.seconds}
    if plan.is_main:
        (plan.folder / COST).write_text(json.dumps(cost))
        _write_history(trainer.state.log_history, plan.folder / HISTORY)
    trainer.accelerator.free_memory()
    # Trainer and callbacks hold each other, and with them the optimizer.
    trainer.optimizer = None
    trainer.callback_handler.callbacks.clear()


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
