"""LESS's formula against a slow version of its text, and projections against their theory."""

import math

import numpy as np
import pytest
import torch

from winnow.errors import BadInput, BadSetting
from winnow.gradients.blocks import Block
from winnow.gradients.features import Adam, AdamForm, Feature, Sgd, Sign
from winnow.gradients.sketch import Dense, Projection, Sketch, Whole, identity, make_projection, walsh_hadamard

BLOCKS = [Block("a.weight", (30, 40)), Block("b.weight", (7, 9)), Block("c.bias", (11,)), Block("e", (5, 3), expert=2)]


def gradients(rows: int = 3, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {block.name: (torch.randn(rows, block.size) * 1e-3).to(dtype) for block in BLOCKS}


def moments() -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(2)
    shapes = {block.parameter: (4, *block.shape) if block.expert is not None else block.shape for block in BLOCKS}
    return {
        name: {"exp_avg": torch.randn(shape) * 1e-3, "exp_avg_sq": torch.rand(shape) * 1e-6}
        for name, shape in shapes.items()
    }


def projected(projection: Projection, feature: Feature, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    first = next(iter(rows.values()))
    out = torch.zeros(len(first), projection.dim, dtype=first.dtype)
    for block in reversed(BLOCKS):
        projection.add(block, rows[block.name].clone(), feature, out)
    return projection.finish(out)


def by_the_text(g: float, m: float, v: float, form: AdamForm, step: int) -> float:
    """algorithms.md section 3, one number at a time."""
    b1, b2 = form.betas
    m_new = (b1 * m if form.momentum else 0.0) + (1 - b1) * g
    v_new = b2 * v + (1 - b2) * g**2
    if form.bias_correction:
        m_new /= 1 - b1 ** (step + 1)
        v_new /= 1 - b2 ** (step + 1)
    if form.eps_at == "inside":
        return m_new / math.sqrt(v_new + form.eps)
    return m_new / (math.sqrt(v_new) + form.eps)


FORMS = [
    AdamForm(),
    AdamForm(eps_at="outside"),
    AdamForm(bias_correction=True),
    AdamForm(momentum=False),
    AdamForm(betas=(0.8, 0.95)),
    AdamForm(betas=(0.7, 0.99), eps=1e-4, eps_at="outside", bias_correction=True, momentum=False),
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_adam_feature_is_the_formula_of_the_text(form: AdamForm):
    feature, held = Adam(form, 7, moments()), moments()
    for block in BLOCKS:
        g = gradients(dtype=torch.float64)[block.name]
        m, v = (block.of(held[block.parameter][kind]).flatten().tolist() for kind in ("exp_avg", "exp_avg_sq"))
        found = feature.of(block, g.clone())
        for row in range(len(g)):
            expected = [by_the_text(*terms, form, 7) for terms in zip(g[row].tolist(), m, v, strict=True)]
            assert np.allclose(found[row], expected, rtol=1e-5, atol=1e-6)


def test_sgd_is_the_gradient_and_sign_its_direction():
    block, g = BLOCKS[0], gradients()[BLOCKS[0].name]
    assert torch.equal(Sgd().of(block, g.clone()), g)
    assert torch.equal(Sign().of(block, torch.tensor([[-3.0, 0.0, 1e-9]])), torch.tensor([[-1.0, 0.0, 1.0]]))


def test_a_checkpoint_without_the_moments_of_a_parameter_is_a_clear_error():
    with pytest.raises(BadInput, match=r"no moment exp_avg of 'a\.weight'.*sgd"):
        Adam(AdamForm(), 1, {}).of(BLOCKS[0], torch.zeros(1, 1200))


@pytest.mark.parametrize(
    "feature", [Sgd(), Sign(), *(Adam(form, 7, moments()) for form in FORMS)], ids=["sgd", "sign", *map(str, FORMS)]
)
def test_the_fused_pass_is_the_plain_one(feature: Feature):
    """What runs on a CPU and what runs on any other device give the same values."""
    fused, plain = Sketch(64, seed=3), Sketch(64, seed=3)
    expected = torch.zeros(3, 64, dtype=torch.float64)
    for block in BLOCKS:
        plain.add_plainly(block, feature.of(block, gradients(dtype=torch.float64)[block.name]), expected)
    expected = walsh_hadamard(expected * plain._signs.double())
    found = projected(fused, feature, gradients())
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_every_cell_has_the_same_number_of_terms():
    sketch = Sketch(64, seed=0)
    for block in BLOCKS:
        places = -(-block.size // 64) * 64
        order, signs = sketch._layout(block)
        assert sorted(order) == list(range(places))
        cells = sketch._code(block) >> 1
        assert np.bincount(cells, minlength=64).max() <= places // 64
        assert set(signs.tolist()) == {-1.0, 1.0}
    short = Sketch(1024, seed=0)
    assert len(set((short._code(BLOCKS[1]) >> 1).tolist())) == 63, "a short tensor goes to distinct cells"
    assert set((short._code(BLOCKS[1]) >> 1).tolist()) != set(range(63)), "and not all of them to the first"


@pytest.mark.parametrize(("kind", "dim"), [("sketch", 64), ("rademacher", 60)])
def test_a_projection_is_unbiased_with_the_variance_of_the_theory(kind: str, dim: int):
    """Over seeds: E<Px, Py> = <x, y>, and Var <= (|x|^2 |y|^2 + <x, y>^2) / k."""
    torch.manual_seed(0)
    rows = {block.name: torch.randn(2, block.size) for block in BLOCKS}
    whole = torch.cat([rows[block.name] for block in BLOCKS], dim=1)
    whole[1] = 0.5 * whole[0] + whole[1]
    rows = dict(zip(rows, whole.split([block.size for block in BLOCKS], dim=1), strict=True))
    exact = float(whole[0] @ whole[1])
    seeds = 300
    found = []
    for seed in range(seeds):
        x, y = projected(make_projection(kind, dim, seed, BLOCKS), Sgd(), rows)
        found.append(float(x @ y))
    theory = float(whole[0].square().sum() * whole[1].square().sum() + exact**2) / dim
    spread = float(np.var(found))
    assert abs(np.mean(found) - exact) < 4 * math.sqrt(theory / seeds)
    assert 0.6 * theory < spread < 1.3 * theory


def test_a_projection_is_linear_and_the_rotation_keeps_lengths():
    rows, sketch = gradients(2), Sketch(128, seed=5)
    both = {name: torch.cat([gradient, 2 * gradient[:1] - 3 * gradient[1:]]) for name, gradient in rows.items()}
    x, y, mixed = projected(sketch, Sgd(), both)
    assert torch.allclose(mixed, 2 * x - 3 * y, atol=1e-6)
    flat = torch.randn(3, 128)
    assert torch.allclose(sketch.finish(flat).norm(dim=1), flat.norm(dim=1), rtol=1e-5)


def test_the_rotation_is_the_hadamard_matrix():
    from scipy.linalg import hadamard

    x = torch.randn(4, 32, dtype=torch.float64)
    assert np.allclose(walsh_hadamard(x), x.numpy() @ hadamard(32))


def test_the_matrix_depends_on_seed_and_names_alone():
    """Known numbers: a store written today is read in years, on any machine."""
    sketch = Sketch(8, seed=42)
    assert sketch._code(Block("layers.0.weight", (3, 4))).tolist() == KNOWN_CODES
    assert Sketch(8, seed=42)._code(Block("x", (3, 4))).tolist() != KNOWN_CODES
    assert Sketch(8, seed=43)._code(Block("layers.0.weight", (3, 4))).tolist() != KNOWN_CODES
    one, other = identity(sketch, BLOCKS), identity(Sketch(8, seed=43), BLOCKS)
    assert one != other
    assert identity(sketch, BLOCKS[:2])["blocks"] != one["blocks"]


KNOWN_CODES = [14, 6, 10, 8, 14, 1, 5, 8, 3, 0, 7, 3]


def test_without_a_projection_blocks_stand_in_the_order_of_the_parameters():
    rows = gradients()
    expected = torch.cat([rows[block.name] for block in BLOCKS], dim=1)
    assert torch.equal(projected(Whole(BLOCKS), Sgd(), rows), expected)


def test_slices_of_the_dense_matrix_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    whole = projected(Dense(60, seed=1), Sgd(), gradients())
    monkeypatch.setattr("winnow.gradients.sketch.DENSE_BYTES", 8 * 60 * 7)
    assert torch.allclose(projected(Dense(60, seed=1), Sgd(), gradients()), whole, atol=1e-6)


def test_a_sketch_has_a_power_of_two_of_cells():
    with pytest.raises(BadSetting, match=r"`gradients\.dims` has 5000"):
        Sketch(5000, seed=0)
