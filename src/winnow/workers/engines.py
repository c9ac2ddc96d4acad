"""How `accelerate launch` is told which engine shares a training."""

import socket
from pathlib import Path

from winnow.errors import BadSetting
from winnow.params import FinetuneParams, Machine

CONFIGURATIONS = Path(__file__).resolve().parents[3] / "conf" / "multi_gpu"


def require_trainable(params: FinetuneParams, machine: Machine) -> None:
    """Refuse what no engine can do, before anything is started."""
    if params.method == "qlora" and (machine.is_sharded or machine.engine.endswith("offload")):
        raise BadSetting(
            f"`machine.engine` is {machine.engine}, which cannot cut the 4-bit weights of `finetune.method: qlora` "
            "into parts. Choose ddp, zero1 or zero2, or the method lora."
        )


def launch_options(machine: Machine) -> list[str]:
    """The engine's file, the number of processes, and a free port, which win over what the file says."""
    config = machine.accelerate_config or CONFIGURATIONS / f"{machine.engine}.yml"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    numbers = {"--num_processes": machine.processes, "--main_process_port": port}
    return ["--config_file", str(config), *(text for name, value in numbers.items() for text in (name, str(value)))]
