"""In the demo as it is configured, what is measured on is clean, and nothing of the pool is lost on the way."""

from pathlib import Path

import yaml

from pipelines.fabricate.nodes import fabricate_corpus
from pipelines.ingest.nodes import find_fabricated_examples, ingest
from pipelines.split.nodes import split
from support.truth import facts_of, is_right
from winnow.params import FabricateParams, IngestParams, Machine, SplitParams

CONF = Path(__file__).resolve().parents[3] / "conf" / "base" / "parameters"


def test_held_out_rows_are_many_clean_and_verified_and_only_unusable_rows_are_rejected(tmp_path: Path):
    machine = Machine(data_root=tmp_path)
    fabricated, planted = fabricate_corpus(FabricateParams(**configured("fabricate")), machine)
    raw = find_fabricated_examples(fabricated, machine)
    params = IngestParams(**configured("ingest"))
    examples, rejects = ingest(raw, params, machine)
    train, validation, held_out, duplicates = split(examples, raw, SplitParams(**configured("split")), params, machine)

    table = facts_of(fabricated)
    rows = held_out.scan().select("subset", "file", "messages").collect()
    assert rows.height >= 600
    for subset, file, (question, answer) in rows.iter_rows():
        assert Path(file).name.startswith("verified-")
        assert is_right(subset, question["content"], answer["content"], table), question

    truth = planted.scan().collect()
    unusable = truth.filter(truth["kind"] == "unusable")["example_id"]
    refused = {f"{file}:{row}" for file, row in rejects.scan().select("file", "row").collect().iter_rows()}
    assert refused == set(unusable)
    trained = set(train.scan().select("example_id").collect()["example_id"])
    assert trained | refused == set(truth["example_id"])
    assert validation.scan().collect().height + rows.height == 3 * FabricateParams().verified_rows
    assert set(duplicates.scan().collect()["example_id"]) <= set(
        truth.filter(truth["kind"] == "exact_duplicate")["example_id"]
    )


def configured(stage: str) -> dict[str, object]:
    return dict(yaml.safe_load((CONF / f"{stage}.yml").read_text())[stage])
