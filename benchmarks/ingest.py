"""Reading and splitting a jsonl of any size stays under 1 GB of memory.

Run it with ``python benchmarks/ingest.py --megabytes 2000 --row-bytes 1000``. It writes such a file to a temporary
folder, runs the nodes `find_raw_examples`, `ingest` and `split` on it (the written tree included), and prints one JSON
line: the file's size beside the peak memory of the process, and the rows per second. Short rows are the harder case for
memory: try ``--row-bytes 250``. It needs about five times the file's size of free disk.
"""

import argparse
import json
import random
import resource
import shutil
import tempfile
import time
from pathlib import Path

from pipelines.ingest.nodes import find_raw_examples, ingest
from pipelines.split.nodes import split
from winnow.params import IngestParams, Machine, SplitParams

WORDS = ("sum", "of", "the", "numbers", "数学", "问题", "answer", "🙂", "because", "therefore", "step", "by", "result")


def write_file(path: Path, size: int, row_bytes: int) -> None:
    random.seed(0)
    pool = " ".join(random.choices(WORDS, k=200_000))
    length = max(20, (row_bytes - 110) * 4 // 5)
    written = number = 0
    with path.open("wb") as file:
        while written < size:
            start = random.randrange(len(pool) - length)
            question, answer = pool[start : start + length // 3], pool[start + length // 3 : start + length]
            turns = [
                {"role": "user", "content": f"{number}: {question}"},
                {"role": "assistant", "content": answer},
            ]
            line = json.dumps({"messages": turns, "source": "made"}, ensure_ascii=False) + "\n"
            written += file.write(line.encode())
            number += 1


def measure(home: Path, megabytes: int, row_bytes: int) -> dict[str, object]:
    raw = home / "raw" / "big"
    raw.mkdir(parents=True)
    write_file(raw / "rows.jsonl", megabytes * 1_000_000, row_bytes)
    machine, params = Machine(data_root=home / "data"), IngestParams(folder=home / "raw")
    start = time.monotonic()
    found = find_raw_examples(params, machine)
    examples, rejects = ingest(found, params, machine)
    read = time.monotonic()
    split(examples, found, SplitParams(), params, machine)
    done = time.monotonic()
    rows = examples.summary["tables"]["examples"]["rows"]
    return {
        "benchmark": "ingest",
        "megabytes": megabytes,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
        "rows": rows,
        "rejects": rejects.summary["tables"]["rejects"]["rows"],
        "ingest_seconds": round(read - start, 1),
        "split_seconds": round(done - read, 1),
        "rows_per_second": round(rows / (done - start)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--row-bytes", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    options = parser.parse_args()
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="winnow-benchmark-", dir=options.folder))
    try:
        print(json.dumps(measure(home, options.megabytes, options.row_bytes)))
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
