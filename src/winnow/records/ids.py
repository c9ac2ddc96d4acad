"""Names of examples: settled, because everything else is keyed by them."""

DEFAULT_SUBSET = "default"


def subset_of(file: str) -> str:
    """The first folder of a file's path, `default` for files at the root."""
    return file.split("/", 1)[0] if "/" in file else DEFAULT_SUBSET


def with_subset(file: str) -> str:
    """`<subset>/<file>`."""
    return file if "/" in file else f"{DEFAULT_SUBSET}/{file}"


def example_id(file: str, row: int) -> str:
    """`<subset>/<file with extension>:<record>`."""
    return f"{with_subset(file)}:{row}"
