"""Kedro datasets for finished directories and for the comparison of arms."""

from winnow.datasets.comparison import ComparisonDataset
from winnow.datasets.finished import FinishedDataset

__all__ = ["ComparisonDataset", "FinishedDataset"]
