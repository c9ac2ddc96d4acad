"""`kedro doctor`: what this machine has, what is missing, and how to get it."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "deepspeed",
    "bitsandbytes",
    "kedro",
    "kedro-viz",
    "mlflow",
    "lm-eval",
    "polars",
    "pandas",
    "scikit-learn",
    "pymoo",
)
LEAST_FREE_GB = 5.0


@dataclass(frozen=True)
class Finding:
    """One line of the examination. `remedy` is empty where all is well."""

    what: str
    found: str
    remedy: str = ""
    needed: bool = True


def doctor(as_json: bool) -> None:
    """Print all findings; exit with 1 where something needed is missing."""
    findings = [finding for examine in EXAMINATIONS for finding in examine()]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        _show(findings)
    if any(finding.remedy and finding.needed for finding in findings):
        sys.exit(1)


def packages() -> list[Finding]:
    """Versions of what Winnow stands on, and whatever else it needs that is missing or of another version."""
    from packaging.requirements import Requirement

    if not _version("winnow"):
        return [Finding("winnow", "not installed", "run `make install`")]
    declared = [Requirement(line) for line in importlib.metadata.requires("winnow") or []]
    needed = [requirement for requirement in declared if requirement.marker is None or requirement.marker.evaluate()]
    found = [Finding("python", platform.python_version())]
    for requirement in sorted(needed, key=lambda one: (_rank(one.name), one.name)):
        version = _version(requirement.name)
        fits = bool(version) and requirement.specifier.contains(version, prereleases=True)
        if not fits or _rank(requirement.name) < len(PACKAGES):
            remedy = "" if fits else f"run `make install`; Winnow needs {requirement.name}{requirement.specifier}"
            found.append(Finding(requirement.name, version or "missing", remedy))
    return found


def _rank(name: str) -> int:
    return PACKAGES.index(name) if name in PACKAGES else len(PACKAGES)


def accelerator() -> list[Finding]:
    """CUDA devices and their memory, and whether torch was built for them."""
    version = _version("torch")
    if version.endswith("+cpu"):
        # Known without the seconds that loading torch takes.
        return [_no_cuda(version)]
    try:
        import torch
    except ImportError as error:
        return [Finding("accelerator", f"unknown: torch cannot be loaded ({error})", "run `make install`")]
    if not torch.cuda.is_available():
        return [_no_cuda(version)]
    devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    text = ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GB)" for device in devices)
    return [Finding("accelerator", text)]


def _no_cuda(version: str) -> Finding:
    if shutil.which("nvidia-smi"):
        remedy = "this torch has no CUDA: remove torch from constraints.txt and run `make install` again"
        return Finding("accelerator", f"a GPU that torch {version} cannot use", remedy)
    return Finding("accelerator", "none: everything runs on the CPU")


def machine() -> list[Finding]:
    """Cores, memory, and disk where the data lie."""
    from winnow.settings import DATA_ROOT

    free = shutil.disk_usage(existing(DATA_ROOT)).free / 2**30
    remedy = f"free some, or move the data: WINNOW_DATA_ROOT (now {DATA_ROOT})" if free < LEAST_FREE_GB else ""
    return [
        Finding("cores", str(os.cpu_count())),
        Finding("memory", f"{memory_gb():.1f} GB"),
        Finding("disk", f"{free:.0f} GB free", remedy),
    ]


def tracking() -> list[Finding]:
    """Whether the tracking store answers."""
    from winnow.settings import PROJECT
    from winnow.tracking import store_of
    from winnow.tracking.store import reachable

    uri = store_of(PROJECT, os.environ)
    file = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not file.exists() and os.access(existing(file), os.W_OK):
        # To ask would be to create it.
        return [Finding("tracking store", f"{uri}, which the first run creates")]
    problem = reachable(uri)
    remedy = "start the server, or unset MLFLOW_TRACKING_URI to use a file in the project" if problem else ""
    return [Finding("tracking store", problem or _without_password(uri), remedy)]


def builds() -> list[Finding]:
    """faiss, and the compilers that deepspeed's CPU kernel is built with at first use."""
    found = []
    installed = {name: _version(name) for name in ("faiss-cpu", "faiss-gpu-cu12")}
    text = ", ".join(f"{name} {version}" for name, version in installed.items() if version)
    remedy = "" if text else "run `make install`"
    if text and shutil.which("nvidia-smi") and not installed["faiss-gpu-cu12"]:
        remedy = "this machine has a GPU: delete .venv and run `make install` here, which brings faiss-gpu-cu12"
    found.append(Finding("faiss", text or "missing", remedy, needed=not text))
    for tool, package in (("g++", "g++"), ("ninja", "ninja-build"), ("git", "git")):
        path = shutil.which(tool) or shutil.which(tool, path=str(Path(sys.executable).parent))
        remedy = "" if path else f"`apt-get install {package}`; needed for DeepSpeed on a CPU"
        found.append(Finding(tool, "found" if path else "missing", remedy, needed=False))
    return found


EXAMINATIONS: tuple[Callable[[], list[Finding]], ...] = (packages, accelerator, machine, tracking, builds)


def memory_gb() -> float:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def gpu_memory_gb() -> float | None:
    """Memory of the largest GPU, without loading torch; None where there is none."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    sizes = [float(line) for line in done.stdout.split() if line.replace(".", "", 1).isdigit()]
    return max(sizes) / 1024 if done.returncode == 0 and sizes else None


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _without_password(uri: str) -> str:
    head, separator, tail = uri.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if separator else uri


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "found", "what to do")
    for finding in findings:
        style = None if not finding.remedy else "red" if finding.needed else "yellow"
        table.add_row(finding.what, finding.found, finding.remedy, style=style)
    Console().print(table)
