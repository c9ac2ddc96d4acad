"""A project whose commands are run as a user types them."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
KEDRO = Path(sys.executable).with_name("kedro")


@dataclass
class Study:
    """A project whose data and tracking live in a folder of their own."""

    folder: Path
    output: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "WINNOW_DATA_ROOT": str(self.data),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "COLUMNS": "200",
        }

    def kedro(self, *arguments: str) -> str:
        """Run a command that has to succeed, and return what it printed."""
        command = [str(KEDRO), *arguments]
        done = subprocess.run(command, cwd=PROJECT, env=self.environment(), capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout
