"""One study, run as a user types it, that the tests of this folder share."""

import pytest

from support.study import Study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study(tmp_path_factory.mktemp("study"))
    study.output = study.kedro("run", "--pipeline", "random", "--env", "test")
    return study
