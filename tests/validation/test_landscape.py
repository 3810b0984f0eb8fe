"""Loss surfaces against closed forms, roughness and Hessian eigenvalues against dense linear algebra."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from validation import landscape
from validation.models import CompactCNN


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear_task(n=12, inputs=3, outputs=2):
    """A linear map under the square loss: the loss is a quadratic, known in closed form."""
    g = generator(1)
    model = nn.Linear(inputs, outputs).double()
    return model, torch.randn(n, inputs, generator=g).double(), torch.randn(n, outputs, generator=g).double()


def network(norm=False):
    torch.manual_seed(0)
    model = CompactCNN(classes=3, channels=1, side=4, width=2, norm=norm).double()
    x = torch.randn(10, 1, 4, 4, generator=generator(2)).double()
    return model, x, torch.arange(10) % 3


def filters(tensors):
    return {n: [float(np.linalg.norm(f)) for f in t.detach().numpy()] for n, t in tensors.items() if t.ndim > 1}


def test_a_direction_is_as_long_as_the_network_filter_by_filter():
    model, *_ = network()
    direction = landscape.filter_direction(model, generator())
    own, its = filters(dict(model.named_parameters())), filters(direction)
    for name in own:
        assert its[name] == pytest.approx(own[name], rel=1e-12)  # two norms and a quotient: some ulps
    assert all(float(direction[n].abs().max()) == 0 for n, p in model.named_parameters() if p.ndim < 2)


def test_a_masked_direction_stays_on_the_support_and_is_normalised_there():
    model, *_ = network()
    masks = {n: torch.rand(p.shape, generator=generator(3)) < 0.5 for n, p in model.named_parameters() if p.ndim > 1}
    with torch.no_grad():
        for name, p in model.named_parameters():
            p *= masks.get(name, True)
    masked, dense = (landscape.filter_direction(model, generator(), m) for m in (masks, None))
    for name, mask in masks.items():
        assert float(masked[name][~mask].abs().sum()) == 0
    own, its = filters(dict(model.named_parameters())), filters(masked)
    for name, mask in masks.items():
        empty = [not row.any() for row in mask]
        expected = [0.0 if none else norm for norm, none in zip(own[name], empty, strict=True)]
        assert its[name] == pytest.approx(expected, rel=1e-12)
        parallel = dense[name][mask] / masked[name][mask]  # the same Gaussian: they differ by a factor for each filter
        assert bool((parallel > 0).all())


def check_quadratic(surface):
    """The loss on the plane is what the residuals say in closed form, at every point, u along the first axis."""
    model, x, y = linear_task()
    u, v = (landscape.filter_direction(model, generator(seed)) for seed in (4, 5))
    table = surface(model, x, y, u, v, radius=0.5, points=5, loss=mse_loss)
    for i, a in enumerate(np.linspace(-0.5, 0.5, 5)):
        for j, b in enumerate(np.linspace(-0.5, 0.5, 5)):
            w = (model.weight + a * u["weight"] + b * v["weight"]).detach().numpy()
            expected = np.mean((x.numpy() @ w.T + model.bias.detach().numpy() - y.numpy()) ** 2)
            assert float(table[i, j]) == pytest.approx(expected, rel=1e-12)


def test_the_surface_of_a_linear_map_is_its_quadratic():
    check_quadratic(landscape.surface)


def test_a_surface_with_its_axes_exchanged_is_noticed():
    with pytest.raises(AssertionError):
        check_quadratic(lambda *args, **options: landscape.surface(*args, **options).T)


@pytest.mark.parametrize("batchnorm", landscape.BATCHNORM)
def test_nothing_of_the_network_changes_and_the_centre_is_its_own_loss(batchnorm):
    model, x, y = network(norm=True)
    model.features[0].eval()  # a mode of its own comes back too
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    lines = []
    u, v = (landscape.filter_direction(model, generator(seed)) for seed in (6, 7))
    table = landscape.surface(
        model, x, y, u, v, points=3, batchnorm=batchnorm, tick=lambda: lines.append(0)
    )
    assert [m.training for m in model.modules()] == modes
    assert all(bool((before[k] == t).all()) for k, t in model.state_dict().items())
    assert len(lines) == 3
    alone = copy.deepcopy(model).train(batchnorm == "batch")
    expected = nn.functional.cross_entropy(alone(x), y).detach()
    assert float(table[1, 1]) == pytest.approx(float(expected), rel=1e-12)


def test_the_two_treatments_of_batchnorm_differ():
    model, x, y = network(norm=True)
    u, v = (landscape.filter_direction(model, generator(seed)) for seed in (6, 7))
    fixed, batch = (landscape.surface(model, x, y, u, v, points=3, batchnorm=b) for b in landscape.BATCHNORM)
    assert float((fixed - batch).abs().max()) > 1e-3


def test_roughness_is_the_mean_absolute_deviation():
    values = np.random.default_rng(0).uniform(0.5, 2.0, size=(4, 4))
    found = landscape.roughness(torch.from_numpy(values))
    assert found["Ra"] == pytest.approx(np.mean([abs(x - values.mean()) for x in values.ravel()]), rel=1e-12)
    logs = np.log(values)
    assert found["log-Ra"] == pytest.approx(np.mean([abs(x - logs.mean()) for x in logs.ravel()]), rel=1e-12)


def dense_hessian(model, x, y, support):
    names = [n for n, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])

    def loss(vector):
        parts = vector.split([s.numel() for s in shapes])
        weights = {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(model, weights, (x,)), y)

    return torch.autograd.functional.hessian(loss, flat)[support][:, support].numpy()


@pytest.mark.parametrize("sparse", [False, True])
def test_the_top_eigenvalue_is_that_of_the_dense_hessian_on_the_support(sparse):
    model, x, y = network()
    drawn = {n: torch.rand(p.shape, generator=generator(8)) < 0.5 for n, p in model.named_parameters() if p.ndim > 1}
    masks = drawn if sparse else None
    full = {n: torch.ones(p.shape, dtype=torch.bool) for n, p in model.named_parameters()}
    kept = torch.cat([m.flatten() for m in (full | (drawn if sparse else {})).values()])
    expected = np.linalg.eigvalsh(dense_hessian(model.eval(), x, y, kept))[-1]
    found = landscape.top_eigenvalue(model, x, y, masks)
    # Lanczos stops when a residual is below tolerance times the value; an eigenvalue lies within the residual
    assert found == pytest.approx(expected, rel=1e-3)


def test_the_top_eigenvalue_on_a_tiny_support_needs_no_lanczos():
    model, x, y = network()
    masks = {n: torch.zeros(p.shape, dtype=torch.bool) for n, p in model.named_parameters()}
    masks["classifier.weight"][0, :2] = True
    kept = torch.cat([m.flatten() for m in masks.values()])
    expected = np.linalg.eigvalsh(dense_hessian(model, x, y, kept))[-1]
    assert landscape.top_eigenvalue(model, x, y, masks) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batchnorm": "new"}, "batchnorm must be one of fixed, batch, got 'new'; pick one"),
        ({"radius": 0.0}, "radius must be > 0 and points >= 2, got 0.0 and 21; 1.0 and 21 are usual"),
        ({"points": 1}, "radius must be > 0 and points >= 2, got 1.0 and 1; 1.0 and 21 are usual"),
    ],
)
def test_bad_arguments_are_named(options, message):
    model, x, y = network()
    u = landscape.filter_direction(model, generator())
    with pytest.raises(ValueError, match=f"^{message}$".replace("(", r"\(").replace(")", r"\)")):
        landscape.surface(model, x, y, u, u, **options)
