"""What to say when memory ran out: which settings take less, and to what they should be set."""

from collections.abc import Mapping
from typing import Any

from winnow.workers.job import Job

_SAID = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is what torch says of a device, or of the host, that is full."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)
    )


def out_of_memory(job: Job, error: BaseException) -> str:
    """The message for a stage that did not fit, its remedies in the order in which they cost least."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"{job.stage} does not fit into memory: {first}\nFinished shards and checkpoints are kept; the same command "
        f"goes on from them. What takes less, the cheapest first:\n{remedies(job)}"
    )


def remedies(job: Job) -> str:
    """A line for each setting that takes less."""
    return "".join(f"  {remedy}\n" for remedy in _remedies(job)).rstrip()


def _remedies(job: Job) -> list[str]:
    params: Mapping[str, Any] = job.task.get("params") or {}
    trains = "lr" in params
    found = [_ONE_AFTER_THE_OTHER.format(job.machine.side_by_side)] if job.machine.side_by_side > 1 else []
    found += _of_training(job, params) if trains else []
    for name in () if trains else ("batch_tokens", "batch"):
        if isinstance(value := params.get(name), int) and value > 1:
            found.append(f"{job.stage}.{name}: {value // 2}    (it is {value})")
    length = job.task.get("max_length")
    return [*found, f"tokenize.max_length: {length // 2}    (it is {length})" if length else _SHORTER]


_ONE_AFTER_THE_OTHER = "machine.side_by_side: 1    (it is {}: those at work at once share the host's memory)"
_SHORTER = "tokenize.max_length: lower; the longest rows decide how much one step takes"


def _of_training(job: Job, params: Mapping[str, Any]) -> list[str]:
    machine, method, section = job.machine, params.get("method"), _section(job)
    per_process = int(params["batch"]) // machine.processes
    micro = min(machine.micro_batch or per_process, per_process)
    found = []
    if micro > 1:
        found.append(f"machine.micro_batch: {max(1, micro // 2)}    (it is {micro}; the batch stays {params['batch']})")
    if not machine.gradient_checkpointing:
        found.append("machine.gradient_checkpointing: true    (slower by about a third)")
    if params.get("precision") == "fp32":
        found.append(f"{section}.precision: bf16    (it is fp32)")
    if method == "full":
        found.append(f"{section}.method: lora    (it is full: gradients and moments take three times the weights)")
    if method == "lora" and machine.engine in ("ddp", "zero1", "zero2"):
        found.append(f"{section}.method: qlora    (it is lora: the base takes a quarter in 4 bits)")
    if machine.processes > 1 and machine.engine in ("ddp", "zero1", "zero2") and job.stage in ("finetune", "warmup"):
        found.append(
            f"machine.engine: zero3    (it is {machine.engine}; or fsdp; or zero3_offload, the slowest; what has begun "
            "begins anew)"
        )
    return found


def _section(job: Job) -> str:
    """Where the parameters of a training stand."""
    return f"warmup.{job.task['name']}" if job.stage == "warmup" else "finetune"
