"""What is told of a row, a cluster and a target is what the stages' tables hold."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import hypergeom
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from support.looked_at import HOSTILE, IDS, POOL, LookedAt
from winnow.errors import BadSetting, MissingResource
from winnow.inspection import Example, inspect_cluster, inspect_example, inspect_target
from winnow.inspection.arms import Keeps, shares_of
from winnow.inspection.pieces import decoder_of, pieces_of
from winnow.inspection.scores import Standing
from winnow.records.tokenizer import load_tokenizer
from winnow.records.tokens import TokenRow, TokenTable


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> LookedAt:
    """Ingested, split and tokenized; nothing else has run."""
    return LookedAt(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> LookedAt:
    project = LookedAt(tmp_path_factory.mktemp("whole"))
    project.add_everything()
    return project


def look(project: LookedAt, name: str) -> Example:
    return inspect_example(project.results(), name, lambda ids: decoder_of(project.base, ids))


def test_pieces_are_the_supervised_tokens_and_all_the_others_exactly(project: LookedAt):
    tokenizer = load_tokenizer(project.base)
    table = TokenTable.open(project.tokens.path, "train")
    for row in table.rows(table.ids):
        pieces = pieces_of(row, decoder_of(project.base, row.input_ids.tolist()))
        learnt = "".join(piece.text for piece in pieces if piece.supervised)
        assert learnt == tokenizer.decode(row.input_ids[row.supervised].tolist())
        assert "".join(piece.text for piece in pieces) == tokenizer.decode(row.input_ids.tolist())
        assert all(one.supervised != other.supervised for one, other in pairwise(pieces))


def test_a_piece_that_begins_with_a_space_keeps_it():
    """Decoded alone, a piece would lose it with this kind of tokenizer."""
    tokenizer = Tokenizer(models.WordLevel({"▁a": 0, "▁b": 1, "▁c": 2}))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    row = TokenRow("x", np.array([0, 1, 2]), np.array([False, True, True]))
    assert [piece.text for piece in pieces_of(row, tokenizer.decode)] == ["a", " b c"]


def test_one_shard_of_tokens_is_enough_for_one_row(project: LookedAt):
    around, whole = TokenTable.open_around(project.tokens.path, IDS[2]), TokenTable.open(project.tokens.path, "train")
    assert np.array_equal(around.rows([IDS[2]])[0].input_ids, whole.rows([IDS[2]])[0].input_ids)
    assert len(TokenTable.open_around(project.tokens.path, "nobody:1")) == 0


def test_a_row_is_told_with_where_it_comes_from_and_what_became_of_it(project: LookedAt):
    found = look(project, IDS[1])
    assert found.origin is not None
    assert (found.origin.file, found.origin.row, found.origin.side) == ("math/a.jsonl", 1, "train")
    assert found.tokens is not None
    assert HOSTILE in "".join(piece.text for piece in found.tokens.pieces)
    assert found.curve is not None
    assert found.curve.losses == [2.0, 1.0]
    assert found.cluster is not None
    assert (found.cluster.name, found.cluster.rows, found.cluster.mean) == ("math/0", 4, [2.0, 1.0])
    assert found.arms == [Keeps("less", 1, 2, 2), Keeps("random", 0, 1, 0)]
    assert found.rejected is None


def test_rows_are_ranked_among_those_that_have_a_score_and_equal_ones_share_the_best_rank(project: LookedAt):
    ranks = {name: look(project, name).scores for name in POOL}
    assert ranks[IDS[2]] == [Standing("less for math", 9.0, 1, 4)]
    assert ranks[IDS[0]] == ranks[IDS[1]] == [Standing("less for math", 3.0, 2, 4)]
    assert ranks[IDS[3]] == []
    assert [own.percentile for own in ranks[IDS[4]]] == [25.0]


def test_a_copy_names_the_row_that_it_repeats_and_the_other_way_round(project: LookedAt):
    copy, kept = look(project, IDS[4]).copies, look(project, IDS[1]).copies
    assert copy is not None
    assert (copy.kept, copy.kind, copy.number) == (IDS[1], "exact copy in the pool", 0)
    assert kept is not None
    assert (kept.kept, kept.others) == (None, [IDS[4]])
    assert look(project, IDS[0]).copies is None


def test_a_rejected_record_is_told_with_its_reason(project: LookedAt):
    found = look(project, IDS[5])
    assert found.rejected == "no assistant turn"
    assert "no answer" in found.excerpt
    assert found.origin is None


@pytest.mark.parametrize("name", ["math/a.jsonl:7", "mathe/a.json:4", "a.jsonl:4"])
def test_an_unknown_id_is_refused_with_the_nearest(project: LookedAt, name: str):
    with pytest.raises(BadSetting, match=f"No example has the id {name!r}.* The nearest: {IDS[4]}, {IDS[3]}"):
        look(project, name)


@pytest.mark.parametrize("digits", [18, 19, 25, 5000])
def test_a_number_that_no_file_can_have_is_no_row(project: LookedAt, digits: int):
    with pytest.raises(BadSetting, match=r"No example has the id .* The nearest: "):
        look(project, f"math/a.jsonl:{'9' * digits}")


def test_a_word_is_no_id(project: LookedAt):
    with pytest.raises(BadSetting, match=f"The nearest: {IDS[0]}"):
        look(project, "math")


def test_stages_that_did_not_run_are_named_and_the_rest_is_told(bare: LookedAt):
    found = look(bare, IDS[0])
    assert found.tokens is not None
    assert found.tokens.pieces
    commands = {one.dataset: one.command for one in found.missing}
    assert commands["losses"] == "kedro run --pipelines trajectories"
    assert set(commands) == {
        "losses",
        "clusters",
        "scores",
        "rds_scores",
        "bm25_scores",
        "row_scores",
        "selector_quality",
    }
    with pytest.raises(MissingResource, match="kedro run --pipelines clusters"):
        inspect_cluster(bare.results(), "math/0")
    with pytest.raises(MissingResource, match="kedro run --pipelines bm25_scores"):
        inspect_target(bare.results(), "math", "bm25")


def test_losses_of_other_tokens_are_said_to_be_of_others(tmp_path: Path):
    project = LookedAt(tmp_path)
    project.add_losses(tokens="of an earlier run")
    outdated = {one.dataset: one.outdated for one in look(project, IDS[0]).missing if one.outdated}
    assert outdated == {"losses": "tokens"}


def test_a_base_model_that_is_gone_leaves_the_messages(project: LookedAt):
    def gone(ids: object) -> None:
        raise MissingResource("it is gone")

    found = inspect_example(project.results(), IDS[0], gone)
    assert found.tokens is not None
    assert (found.tokens.reason, found.tokens.pieces) == ("it is gone", [])
    assert found.tokens.supervised > 0
    assert found.messages[1]["content"] == "2"


def test_a_cluster_is_told_with_its_curve_its_influence_and_the_rows_nearest_to_it(project: LookedAt):
    found = inspect_cluster(project.results(), "math/0", top=2)
    assert (found.rows, found.pool) == (4, 5)
    assert found.curves is not None
    assert found.curves.mean == [2.0, 1.0]
    assert found.curves.low == pytest.approx([1.3, 0.3])
    assert [(row.example_id, row.value) for row in found.typical] == [(IDS[1], 0.0), (IDS[4], 0.0)]
    assert [row.example_id for row in found.odd] == [IDS[2], IDS[0]]
    assert [row.value for row in found.odd] == pytest.approx([2**0.5] * 2)
    assert [(cell.domain, cell.influence, cell.error) for cell in found.influence] == [("math", 0.25, 0.125)]
    assert inspect_cluster(project.results(), "0", top=2).rows == 4
    with pytest.raises(BadSetting, match=r"There is no cluster 'math/7'.*within a subset: math/0, math/1"):
        inspect_cluster(project.results(), "math/7")


def test_what_an_arm_keeps_of_a_cluster_stands_beside_a_random_draw_of_its_size(project: LookedAt):
    members = pl.DataFrame({"example_id": [IDS[0], IDS[1], IDS[2], IDS[4]]})
    less, random = shares_of(project.results().mixes, members, pool=5)
    draw = hypergeom(5, 4, 2)
    assert (less.kept, less.seeds) == (1.0, 2)
    assert (less.expected, less.deviation) == pytest.approx((draw.mean(), draw.std()))
    assert less.share == 3 / 5
    assert (random.kept, random.expected, random.share) == (1.0, pytest.approx(0.8), 1.0)


def test_a_target_is_told_with_its_best_and_worst_rows_and_the_spread_of_its_scores(project: LookedAt):
    found = inspect_target(project.results(), "math", top=2, bottom=1)
    assert [(row.example_id, row.value, row.cluster) for row in found.best] == [
        (IDS[2], 9.0, "math/0"),
        (IDS[0], 3.0, "math/0"),
    ]
    assert [row.example_id for row in found.worst] == [IDS[4]]
    assert found.spread.rows == 4
    assert found.spread.quartiles == pytest.approx([0.0, 2.25, 3.0, 4.5, 9.0])
    assert sum(found.spread.histogram) == 4
    assert found.best[0].text == "user: u | assistant: v"
    with pytest.raises(BadSetting, match=r"There is no target 'maths'.* Known: math"):
        inspect_target(project.results(), "maths")


def test_no_row_is_both_among_the_best_and_the_worst(project: LookedAt):
    found = inspect_target(project.results(), "math", top=3, bottom=3)
    assert [row.example_id for row in [*found.best, *found.worst]] == [IDS[2], IDS[0], IDS[1], IDS[4]]


def test_a_tokenizer_file_decodes_as_the_tokenizer_does(project: LookedAt):
    ids = list(range(len(load_tokenizer(project.base))))
    assert decoder_of(project.base, ids)(ids) == load_tokenizer(project.base).decode(ids)
