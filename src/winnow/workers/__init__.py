"""Worker processes: `python -m winnow.workers.<stage> job.json`, the only code that touches an accelerator."""
