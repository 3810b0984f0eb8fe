"""A small network, toy methods, and the checks that every sparse-training method must pass and mutants must fail."""

import copy
import io

import torch
from optim_support import bits
from torch import nn

from s2sam import S2SAM, SAM
from s2sam.sparse.controller import Controller
from s2sam.sparse.select import drop_grow, highest

WEIGHTS = ["conv1.weight", "conv2.weight", "conv3.weight", "fc1.weight", "fc2.weight"]  # of the network below
BASES = {
    "sgd": lambda p, **kw: torch.optim.SGD(p, lr=0.05, **kw),
    "momentum": lambda p, **kw: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1, **kw),
    "nesterov": lambda p, **kw: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1, **kw),
    "adam": lambda p, **kw: torch.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.1, **kw),
    "adamw": lambda p, **kw: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, **kw),
    "rmsprop": lambda p, **kw: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True, **kw),
    "adagrad": lambda p, **kw: torch.optim.Adagrad(p, lr=0.01, initial_accumulator_value=0.1, **kw),
    "adadelta": lambda p, **kw: torch.optim.Adadelta(p, **kw),
    "nadam": lambda p, **kw: torch.optim.NAdam(p, lr=0.01, **kw),
    "radam": lambda p, **kw: torch.optim.RAdam(p, lr=0.01, **kw),
    "adamax": lambda p, **kw: torch.optim.Adamax(p, lr=0.01, **kw),
    "asgd": lambda p, **kw: torch.optim.ASGD(p, lr=0.01, **kw),
    "rprop": lambda p, **kw: torch.optim.Rprop(p, lr=0.01, **kw),
}
WRAPS = {
    "bare": lambda opt: opt,
    "s2sam": lambda opt: S2SAM(opt, rho=0.1),
    "s2sam-adaptive": lambda opt: S2SAM(opt, rho=0.1, adaptive=True),
    "sam": lambda opt: SAM(opt, rho=0.1),
}
FORMS = {"bare": ("loop", "closure"), "s2sam": ("loop", "closure", "attach"), "sam": ("closure",)}


def network(seed=0, classes=3, dtype=torch.float32):
    """Two convolutions with batch norm, a residual block between them, and two linear layers, for 2 x 6 x 6 images."""
    torch.manual_seed(seed)
    return Net(classes).to(dtype)


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv3, self.bn3 = nn.Conv2d(6, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.pool, self.flat = nn.AvgPool2d(2), nn.Flatten()
        self.fc1, self.fc2 = nn.Linear(36, 8), nn.Linear(8, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(x + self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(x))))))
        return self.fc2(torch.tanh(self.fc1(self.flat(self.pool(x)))))


def batch(t, n=8, classes=3, dtype=torch.float32):
    """The t-th batch of images and classes."""
    generator = torch.Generator().manual_seed(1000 + t)
    x = torch.randn(n, 2, 6, 6, generator=generator, dtype=dtype)
    return x, torch.randint(classes, (n,), generator=generator)


def loss_of(model, t):
    x, y = batch(t, dtype=next(model.parameters()).dtype)
    return nn.functional.cross_entropy(model(x), y)


def train_step(model, opt, t, form="loop", edit=None):
    """One step in one of three forms; `edit()` runs after backward. Return what the weights were in the forward."""
    seen = {}

    def evaluate():
        opt.zero_grad()
        loss = loss_of(model, t)
        seen.update({n: p.detach().clone() for n, p in model.named_parameters()})
        loss.backward()
        if edit:
            edit()
        return loss

    if form == "closure":
        opt.step(evaluate)
    elif form == "attach":
        handle = opt.attach(model)
        evaluate()
        opt.step()
        handle.remove()
    elif isinstance(opt, S2SAM):
        with opt.perturbed():
            evaluate()
        opt.step()
    else:
        evaluate()
        opt.step()
    return seen


class Fixed(Controller):
    """A random mask of the budget, for ever."""

    def __init__(self, model, *args, **options):
        super().__init__(model, *args, **options)
        for name, w in self.weights.items():
            self._set(name, highest(self._random(name), torch.ones_like(w, dtype=torch.bool), self.budget[name]))
        self.apply()


class Moving(Fixed):
    """Exchanges k entries of each layer every third step, weights by dense gradients; with `skip`, instead of a step.

    The scores that are not numbers come from gradients, and rank last with a warning.
    """

    needs_gradient = True

    def __init__(self, model, *args, skip=False, k=3, regrow=True, **options):
        super().__init__(model, *args, **options)
        self.skip_step_on_update, self.k, self.regrow = skip, k, regrow
        self.updates, self.seen = [], {}

    def _due(self, step):
        return step > 0 and step % 3 == 0

    def _update(self, gradients):
        self.updates.append(self.step)
        self.seen = gradients
        for name, w in self.weights.items():
            mask = drop_grow(self.masks[name], w.abs(), gradients[name].abs(), self.k, regrow=self.regrow)
            self._set(name, mask)


def masked_parameters(model):
    """Yield name, parameter and mask of what is masked, from the model's buffers alone."""
    buffers = dict(model.named_buffers())
    for name, p in model.named_parameters():
        if (mask := buffers.get(f"{name}_mask")) is not None:
            yield name, p, mask


def assert_masked(model, opt=None):
    """Pruned entries of weights, gradients and state tensors of that shape are exactly 0; masks are bool, of the shape.

    The direction of S2-SAM is among the state. Weights that are not masked at all are counted by the caller.
    """
    found = 0
    for name, p, mask in masked_parameters(model):
        found += 1
        assert mask.dtype is torch.bool
        assert mask.shape == p.shape
        slots = opt.state.get(p, {}) if opt is not None else {}
        named = {"weight": p, "gradient": p.grad, **slots}
        for slot, t in named.items():
            if isinstance(t, torch.Tensor) and t.shape == p.shape:
                assert (t[~mask] == 0).all(), f"{slot} of {name} is not 0 where it is pruned"
    assert found > 0


def assert_seen_masked(masks, seen):
    """The weights of a forward pass were 0 outside the masks of that time."""
    for name, mask in masks.items():
        assert (seen[name][~mask] == 0).all(), f"{name} was not 0 in the forward pass where it is pruned"


def clones(tensors):
    return {name: t.detach().clone() for name, t in tensors.items()}


def assert_survivors_untouched(old, new, before, after, renews=False):
    """Entries active in both masks have the very same bits, for weights and for every slot; unmasked ones wholly so.

    Args:
        old: masks by name. new: those after. before: tensors by (parameter, slot). after: those after.
        renews: whether an entry dropped and grown in one update may have been set to 0.
    """
    assert before.keys() == after.keys()
    for (name, slot), was in before.items():
        now = after[name, slot]
        if name in old and was.shape == old[name].shape:
            both = old[name] & new[name]
            if renews:
                both &= now != 0
            was, now = was[both], now[both]
        assert bits([was]) == bits([now]), f"{slot} of {name} changed"


def snapshot(model, opt):
    """Every parameter and every tensor of the optimizer's state, by (parameter, slot)."""
    found = {}
    for name, p in model.named_parameters():
        found[name, "weight"] = p.detach().clone()
        for slot, t in opt.state.get(p, {}).items() if opt is not None else ():
            if isinstance(t, torch.Tensor):
                found[name, slot] = t.detach().clone()
    return found


class Restricted(nn.Module):
    """The restricted function f(m * w) of a model without masks: full shapes, every entry free."""

    def __init__(self, model, masks):
        super().__init__()
        self.net, self.fixed = model, masks

    def forward(self, x):
        masked = {n: p * self.fixed[n] if n in self.fixed else p for n, p in self.net.named_parameters()}
        return torch.func.functional_call(self.net, masked, (x,))


def without_masks(model):
    """A deep copy of a model, its mask buffers taken off."""
    plain = copy.deepcopy(model)
    for module in plain.modules():
        for name in [n for n in module._buffers if n.endswith("_mask")]:
            delattr(module, name)
    return plain


def assert_restricted_run(sparse, model, make_opt, steps=8, form="loop"):
    """Masked training equals, bit for bit, the unmasked training of f(m * w) from the same start in the support.

    Args:
        sparse: a controller that will not change its masks. make_opt: parameters -> optimizer.
    """
    plain = without_masks(model)
    other = Restricted(plain, {name: mask.clone() for name, _, mask in masked_parameters(model)})
    opt, free = make_opt(model.parameters()), make_opt(plain.parameters())
    sparse.attach(opt)
    for t in range(steps):
        seen, expected = train_step(model, opt, t, form), train_step(other, free, t, form)
        assert bits(seen.values()) == bits(expected.values()), f"step {t}: the forward passes differ"
        assert bits(model.parameters()) == bits(plain.parameters()), f"step {t}: the weights differ"
    assert bits(b for n, b in model.named_buffers() if not n.endswith("_mask")) == bits(plain.buffers())


def through_a_file(state):
    """What comes back of a state dict saved and loaded as plain tensors."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_resumes(build, train, head=5, tail=7, save=None):
    """A run broken off and gone on with in fresh objects has the very path of one that was not.

    Args:
        build: seed -> (model, optimizer, attached controller). train: those and a step number -> None.
        save: what is saved of the three, all three state dicts by default.
    """
    save = save or (lambda parts: [part.state_dict() for part in parts])
    parts = build(0)
    for t in range(head):
        train(*parts, t)
    saved = through_a_file(save(parts))
    fresh = build(1)
    for part, state in zip(fresh, saved, strict=True):
        part.load_state_dict(state)
    for t in range(head, head + tail):
        train(*parts, t)
        train(*fresh, t)
        for (name, _, a), (_, _, b) in zip(*map(masked_parameters, (parts[0], fresh[0])), strict=True):
            assert torch.equal(a, b), f"step {t}: the masks of {name} differ"
        assert bits(parts[0].parameters()) == bits(fresh[0].parameters()), f"step {t}: the weights differ"
