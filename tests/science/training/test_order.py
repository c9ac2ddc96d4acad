"""The order of the rows that a model is trained on."""

import pytest

from winnow.errors import NothingToTrainOn
from winnow.training.data import expand


@pytest.mark.parametrize("mix", [{}, {"a": 0}])
@pytest.mark.parametrize("steps", [None, 3])
def test_a_mix_without_rows_is_refused(mix: dict[str, int], steps: int | None):
    with pytest.raises(NothingToTrainOn, match="Choose at least one row"):
        expand(mix, 0, steps, 1.0, 4)
