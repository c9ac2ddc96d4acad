"""Looking at single rows, clusters and targets: what finished stages left, put together and never computed anew."""

from winnow.inspection.cluster import Cluster, inspect_cluster
from winnow.inspection.example import Example, inspect_example
from winnow.inspection.results import Missing, Results, open_results
from winnow.inspection.target import Target, inspect_target

__all__ = [
    "Cluster",
    "Example",
    "Missing",
    "Results",
    "Target",
    "inspect_cluster",
    "inspect_example",
    "inspect_target",
    "open_results",
]
