"""Expensive work whose result lives in a directory named after everything that decided it.

`Place` says where a result belongs, `Work` builds it shard by shard, `Finished` is the sealed result. `filled` is the
frame around them for what this process builds itself.
"""

from winnow.stages.fingerprint import file_checksum, fingerprint, table_fingerprint
from winnow.stages.finished import Finished, FinishedParts, load_record
from winnow.stages.place import Place, locate
from winnow.stages.planning import WouldRun, planning, require_build
from winnow.stages.work import PARTS, Work, filled

__all__ = [
    "PARTS",
    "Finished",
    "FinishedParts",
    "Place",
    "Work",
    "WouldRun",
    "file_checksum",
    "filled",
    "fingerprint",
    "load_record",
    "locate",
    "planning",
    "require_build",
    "table_fingerprint",
]
