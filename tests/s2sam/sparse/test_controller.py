"""Masks around the steps of every optimizer, in every form of the loop; what an update may touch; what is refused."""

import contextlib
import copy
import inspect
import warnings

import pytest
import torch
from optim_support import bits
from sparse_checks import (
    BASES,
    FORMS,
    WRAPS,
    Fixed,
    Moving,
    assert_masked,
    assert_restricted_run,
    assert_resumes,
    assert_seen_masked,
    assert_survivors_untouched,
    clones,
    loss_of,
    network,
    snapshot,
    train_step,
)
from torch.optim.lr_scheduler import StepLR

from s2sam import S2SAM, SAM
from s2sam.sparse import CHEX, MEST, SET, SNIP, Chase, LotteryTicket, RandomMask, RigL
from s2sam.sparse.controller import Controller

RUNS = [(base, "bare", "loop") for base in BASES] + [(base, "s2sam", "loop") for base in BASES if base != "adadelta"]
OTHERS = [(wrap, form) for wrap in FORMS for form in FORMS[wrap] if form != "loop"]
RUNS += [(base, *other) for base in ("nesterov", "adam") for other in OTHERS]
RUNS += [("momentum", "s2sam-adaptive", "loop")]


def gradients(sparse):
    return {n: w.grad.clone() for n, w in sparse.weights.items()}


def all_gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters()}


def setting(base="momentum", wrap="s2sam", kind=Moving, seed=0, sparsity=0.8, dtype=torch.float32, **options):
    """A network, an optimizer on it, and an attached controller."""
    model = network(seed, dtype=dtype)
    opt = WRAPS[wrap](BASES[base](model.parameters()))
    sparse = kind(model, sparsity, **options)
    sparse.attach(opt)
    return model, opt, sparse


@pytest.mark.parametrize("skip", [False, True], ids=["update-after", "update-instead"])
@pytest.mark.parametrize(("base", "wrap", "form"), RUNS)
def test_pruned_entries_stay_0_everywhere(base, wrap, form, skip):
    """After every step and update, in weights, gradients and slots; and in every forward pass."""
    model, opt, sparse = setting(base, wrap, skip=skip)
    counts = {n: int(m.sum()) for n, m in sparse.masks.items()}
    assert counts == sparse.budget
    changes = 0
    for t in range(8):
        masks, updates, step = clones(sparse.masks), len(sparse.updates), sparse.step
        assert_seen_masked(masks, train_step(model, opt, t, form))
        assert_masked(model, opt)
        moved = any(not torch.equal(masks[n], m) for n, m in sparse.masks.items())
        assert moved <= (len(sparse.updates) > updates)  # between updates nothing moves
        assert sparse.step == step + (not (skip and len(sparse.updates) > updates))
        changes += moved
        assert {n: int(m.sum()) for n, m in sparse.masks.items()} == counts
    assert sparse.updates == [3, 6]
    assert changes == 2
    assert all(w.isfinite().all() for w in model.parameters())


@pytest.mark.parametrize("form", FORMS["s2sam"])
@pytest.mark.parametrize("base", ["momentum", "adam"])
@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
def test_fixed_masks_train_the_restricted_function(base, wrap, form):
    if form not in FORMS[wrap]:
        form = "loop"
    model = network()
    sparse = Fixed(model, 0.8)
    assert_restricted_run(sparse, model, lambda p: WRAPS[wrap](BASES[base](p)), form=form)


def test_gradients_add_up_before_a_step():
    """Two backward passes before each step; the update sees their dense sum."""
    model, opt, sparse = setting()
    added = []
    for t in range(6):
        opt.zero_grad()
        with opt.perturbed():
            for part in range(2):
                loss_of(model, 2 * t + part).backward()
            added.append(gradients(sparse))
        opt.step()
        assert_masked(model, opt)
    assert sparse.updates == [3, 6]
    assert bits(sparse.seen.values()) == bits(added[-1].values())
    assert any((g[~m] != 0).any() for g, m in zip(added[-1].values(), sparse.masks.values(), strict=True))


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("wrap", "form"), [("bare", "loop"), *OTHERS])
def test_an_update_sees_the_dense_gradient_of_its_step(wrap, form, skip):
    model, opt, sparse = setting(wrap=wrap, skip=skip)
    last = {}
    for t in range(6 + 2 * skip):
        train_step(model, opt, t, form, edit=lambda: last.update(gradients(sparse)))
    assert sparse.updates == [3, 6]
    assert bits(sparse.seen.values()) == bits(last.values())  # of SAM, the gradient that is applied: the second


def test_methods_that_do_not_want_gradients_get_none():
    class Blind(Moving):
        needs_gradient = False

        def _update(self, gradients):
            self.seen = gradients

    model, opt, sparse = setting(kind=Blind)
    sparse.seen = None
    for t in range(3):
        train_step(model, opt, t)
    assert sparse.seen == {}


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize(("wrap", "form"), [("bare", "loop"), ("s2sam", "loop"), *OTHERS])
def test_what_is_not_finite_at_a_pruned_entry_does_nothing(bad, wrap, form):
    """The run is, bit for bit, the one without it, and a direction is taken."""
    runs = []
    for spoil in (False, True):
        model, opt, sparse = setting(wrap=wrap, kind=Fixed)

        def edit(sparse=sparse, spoil=spoil):
            for n, w in sparse.weights.items() if spoil else ():
                w.grad[~sparse.masks[n]] = bad

        for t in range(4):
            train_step(model, opt, t, form, edit)
            assert_masked(model, opt)
        runs.append(bits(model.parameters()))
        assert getattr(opt, "skipped_perturbations", 0) == 0
    assert runs[0] == runs[1]


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_scores_that_are_not_numbers_end_in_a_warning_not_in_a_broken_mask(bad):
    model, opt, sparse = setting(kind=Moving, wrap="bare")
    train_step(model, opt, 0)
    for w in sparse.weights.values():
        w.grad.fill_(bad)
    expected = pytest.warns(RuntimeWarning, match="scores are nan") if bad != bad else contextlib.nullcontext()
    with expected:
        sparse.update()
    assert {n: int(m.sum()) for n, m in sparse.masks.items()} == sparse.budget
    assert_masked(model, opt)
    assert all(w.isfinite().all() for w in model.parameters())


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
def test_a_gradient_scaler_that_skips_steps(wrap, fused):
    """Skipped steps do not count, and scores are made of true gradients, also around a fused step."""
    model = network()
    opt = WRAPS[wrap](BASES["adam"](model.parameters(), fused=fused))
    sparse = Moving(model, 0.8)
    sparse.attach(opt)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=100)
    done = 0
    for t in range(9):
        opt.zero_grad()
        with opt.perturbed() if wrap == "s2sam" else contextlib.nullcontext():
            scaler.scale(loss_of(model, t)).backward()
        if t in (2, 6):
            model.fc1.weight.grad[0, 0] = torch.inf
        masks, before, scaled = clones(sparse.masks), bits(model.parameters()), gradients(sparse)
        scaler.step(opt)
        scaler.update()
        if t in (2, 6):
            assert bits(model.parameters()) == before
            assert bits(sparse.masks.values()) == bits(masks.values())
        else:
            done += 1
            assert_masked(model, opt)
            if done == 3:  # a power of 2, so exact
                scale = 4.0 / 2  # halved by the one skipped step
                assert bits(sparse.seen.values()) == bits(g / scale for g in scaled.values())
        assert sparse.step == done
    assert sparse.updates == [3, 6]


def test_a_held_perturbation_stays_in_a_support_that_changed():
    """A skipped step holds y - w for the retry; an update by hand in between masks it too."""
    model, opt, sparse = setting()
    train_step(model, opt, 0)
    with opt.perturbed():
        loss_of(model, 1).backward()
    old = clones(sparse.masks)
    sparse.update()
    assert any(not torch.equal(old[n], m) for n, m in sparse.masks.items())
    assert_seen_masked(clones(sparse.masks), train_step(model, opt, 1))
    assert_masked(model, opt)


@pytest.mark.parametrize("wrap", ["bare", "s2sam"])
@pytest.mark.parametrize("base", ["momentum", "adam"])
def test_an_update_leaves_survivors_and_what_is_not_masked_untouched(base, wrap):
    model, opt, sparse = setting(base, wrap)
    for t in range(2):
        train_step(model, opt, t)
    opt.zero_grad()
    loss_of(model, 2).backward()
    given = {(n, "gradient"): g for n, g in all_gradients(model).items()}
    live, old, before = sparse.masks, clones(sparse.masks), snapshot(model, opt)
    sparse.update()
    assert all(mask is live[n] for n, mask in sparse.masks.items())  # the very buffers: a broadcast holds on to them
    new = clones(sparse.masks)
    assert any(not torch.equal(old[n], new[n]) for n in old)
    assert_survivors_untouched(old, new, before, snapshot(model, opt))
    assert_survivors_untouched(old, new, given, {(n, "gradient"): g for n, g in all_gradients(model).items()})
    assert_masked(model, opt)
    for (name, slot), t in snapshot(model, opt).items():  # grown entries start from 0
        if name in new and t.shape == new[name].shape:
            assert (t[new[name] & ~old[name]] == 0).all(), slot


def test_an_exchange_of_nothing_changes_nothing():
    model, opt, sparse = setting(k=0)
    train_step(model, opt, 0)
    masks, before = bits(sparse.masks.values()), bits(snapshot(model, opt).values())
    sparse.update()
    assert bits(sparse.masks.values()) == masks
    assert bits(snapshot(model, opt).values()) == before


@pytest.mark.parametrize("form", FORMS["s2sam"])
@pytest.mark.parametrize("base", ["momentum", "adam"])
def test_the_perturbation_lies_in_the_support_and_has_length_rho(base, form):
    model, opt, sparse = setting(base, dtype=torch.float64)
    for t in range(8):
        w, masks = clones(dict(model.named_parameters())), clones(sparse.masks)
        moved = {n: y - w[n] for n, y in train_step(model, opt, t, form).items()}
        assert_seen_masked(masks, moved)
        length = torch.stack([e.norm() for e in moved.values()]).norm()
        # y = fl(w + e), so each of n entries of y - w is off by at most ulp(2 max|w|)/2 < 2^-52 max|w|, and the length
        # by sqrt(n) times that; the norms round in few more ulps of rho (rules' norm: 1e-15 relative is 8 roundings).
        n, largest = sum(p.numel() for p in w.values()), max(p.abs().max() for p in w.values())
        slack = n**0.5 * 2.0**-52 * largest + 0.1 * n * 2.0**-53
        assert abs(length - 0.1) <= slack if t else length == 0
    assert sparse.updates == [3, 6]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("base", ["momentum", "adam"])
def test_radius_0_is_the_base_optimizer_bit_for_bit(base, skip):
    paths = []
    for wrap in (lambda opt: opt, lambda opt: S2SAM(opt, rho=0.0)):
        model = network()
        opt = wrap(BASES[base](model.parameters()))
        sparse = Moving(model, 0.8, skip=skip)
        sparse.attach(opt)
        path = []
        for t in range(8):
            train_step(model, opt, t)
            path.append(bits(model.parameters()) + bits(sparse.masks.values()))
        paths.append(path)
        assert sparse.updates == [3, 6]
    assert paths[0] == paths[1]


@pytest.mark.parametrize(("wrap", "form"), [(wrap, form) for wrap in FORMS for form in FORMS[wrap]])
@pytest.mark.parametrize("base", ["momentum", "adam", "adagrad"])
def test_a_step_left_out_touches_no_state_of_the_base(base, wrap, form):
    model, opt, sparse = setting(base, wrap, skip=True)
    schedule = StepLR(opt, 1, 0.9)
    for t in range(3):
        train_step(model, opt, t, form)
        schedule.step()
    old, before, dense = clones(sparse.masks), snapshot(model, opt), {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_step(model, opt, 3, form, edit=lambda: dense.update(all_gradients(model)))
        schedule.step()
    assert sparse.updates == [3]
    assert sparse.step == 3
    new, after = clones(sparse.masks), snapshot(model, opt)
    base_slots = {k: t for k, t in before.items() if k[1] != "ascent"}
    assert_survivors_untouched(old, new, base_slots, {k: t for k, t in after.items() if k[1] != "ascent"})
    assert_masked(model, opt)
    for name, p in model.named_parameters():
        both = old[name] & new[name] if name in old else torch.ones_like(p, dtype=torch.bool)
        expected = torch.where(both, dense[name], 0)
        assert bits([p.grad]) == bits([expected]), f"the gradient of {name} was not given back"
        if wrap == "s2sam":
            assert bits([opt.direction(p)]) == bits([expected]), name
    train_step(model, opt, 4, form)
    assert sparse.step == 4
    assert sparse.updates == [3]


@pytest.mark.parametrize(("wrap", "form"), [(wrap, form) for wrap in FORMS for form in FORMS[wrap]])
def test_a_step_left_out_in_the_first_place(wrap, form):
    """An update due before any step: Adam has no state yet, must find none of ours, and its first step is its first."""

    class AtOnce(Moving):
        def _due(self, step):
            return step == 0

    model, opt, sparse = setting("adam", wrap, kind=AtOnce, skip=True)
    before = clones(dict(model.named_parameters()))
    train_step(model, opt, 0, form)
    assert sparse.updates == [0]
    assert not opt.state
    for name, p in model.named_parameters():
        kept = sparse.masks.get(name, torch.ones_like(p, dtype=torch.bool))
        assert bits([p[kept]]) == bits([before[name][kept]])
    for t in range(1, 3):
        assert_seen_masked(clones(sparse.masks), train_step(model, opt, t, form))
        assert_masked(model, opt)
        assert sparse.step == t
        assert all(slots["step"] == t for slots in opt.state.values())
    assert sparse.updates == [0]


@pytest.mark.parametrize("wrap", FORMS)
def test_a_fresh_optimizer_whose_first_step_is_left_out(wrap):
    model, opt, sparse = setting("momentum", wrap, skip=True)
    form = FORMS[wrap][0]
    for t in range(3):
        train_step(model, opt, t, form)
    opt = WRAPS[wrap](BASES["adam"](model.parameters()))
    sparse.attach(opt)
    for t in range(3, 6):
        train_step(model, opt, t, form)
        assert_masked(model, opt)
    assert sparse.updates == [3]
    assert sparse.step == 5


def test_schedulers_see_their_steps():
    for on_base in (False, True):
        model, opt, _ = setting(skip=True)
        schedule = StepLR(opt.base if on_base else opt, 1, 0.5)
        for t in range(5):
            train_step(model, opt, t)
            schedule.step()  # torch warns when no step was seen: a warning is an error here
        assert opt.param_groups[0]["lr"] == 0.05 / 2**5


def test_an_update_by_hand_uses_the_gradients_that_are_there():
    model, opt, sparse = setting(wrap="bare")
    loss_of(model, 0).backward()
    dense = gradients(sparse)
    sparse.update()
    assert bits(sparse.seen.values()) == bits(dense.values())
    masks = clones(sparse.masks)
    opt.zero_grad()
    sparse.update()
    assert all((g == 0).all() for g in sparse.seen.values())
    assert bits(masks.values()) == bits(sparse.masks.values())  # of equal scores those just dropped come first
    assert sparse.step == 0


def test_an_update_by_hand_does_not_use_gradients_of_an_update_before():
    model, opt, sparse = setting(wrap="bare")
    for t in range(3):
        train_step(model, opt, t)
    assert sparse.updates == [3]
    opt.zero_grad()
    loss_of(model, 7).backward()
    now = gradients(sparse)
    sparse.update()
    assert bits(sparse.seen.values()) == bits(now.values())


def test_an_update_after_a_step_that_broke_does_not_use_its_gradients():
    """Gradients kept for the update of a step that raised are not those of a later one."""
    model, opt, sparse = setting(wrap="bare")
    for t in range(2):
        train_step(model, opt, t)

    def breaks(*_):
        raise ArithmeticError

    handle = opt.register_step_pre_hook(breaks)
    with pytest.raises(ArithmeticError):
        train_step(model, opt, 2)
    handle.remove()
    assert sparse.step == 2
    last = {}
    train_step(model, opt, 3, edit=lambda: last.update(gradients(sparse)))
    assert sparse.updates == [3]
    assert bits(sparse.seen.values()) == bits(last.values())


def test_topology_waits_for_w():
    model, opt, sparse = setting()
    train_step(model, opt, 0)
    with opt.perturbed():
        loss_of(model, 1).backward()
        y, masks = bits(model.parameters()), clones(sparse.masks)
        for act in (sparse.update, sparse.apply):
            with pytest.raises(RuntimeError, match=r"^topology must change at w, got perturbed weights; .*"):
                act()
        assert bits(model.parameters()) == y
        assert bits(masks.values()) == bits(sparse.masks.values())
    sparse.update()
    assert_masked(model, opt)


def test_another_optimizer_takes_over():
    model, first, sparse = setting("momentum")
    for t in range(2):
        train_step(model, first, t)
    second = S2SAM(BASES["adam"](model.parameters()))
    sparse.attach(second)
    assert sparse.optimizer is second
    for t in range(2, 7):
        train_step(model, second, t)
        assert_masked(model, second)
    assert sparse.updates == [3, 6]
    step, masks = sparse.step, clones(sparse.masks)
    train_step(model, first, 7)  # nobody acts on it now
    assert sparse.step == step
    with pytest.raises(AssertionError, match="is not 0 where it is pruned"):
        assert_masked(model, first)
    sparse.attach(first)  # masks at once what happened meanwhile
    assert_masked(model, first)
    assert bits(masks.values()) == bits(sparse.masks.values())
    sparse.attach(first)  # a second time is not twice
    train_step(model, first, 8)
    assert sparse.step == step + 1


def test_detached_means_left_alone():
    model, opt, sparse = setting()
    train_step(model, opt, 0)
    sparse.detach()
    sparse.detach()
    assert sparse.optimizer is None
    for t in range(4):
        train_step(model, opt, t)
    assert sparse.step == 1
    assert sparse.updates == []
    assert int(model.fc1.weight.count_nonzero()) > sparse.budget["fc1.weight"]
    sparse.apply()
    assert_masked(model)


def test_a_copy_is_not_attached_and_may_be():
    """As with torch's hooks: a copied optimizer has none, so a copied controller says that it has no optimizer."""
    parts = setting("adam")
    for t in range(2):
        train_step(*parts[:2], t)
    model, opt, sparse = copy.deepcopy(parts)
    assert sparse.optimizer is None
    assert parts[2].optimizer is parts[1]
    assert sparse.model is model
    sparse.attach(opt)
    for t in range(2, 8):
        train_step(*parts[:2], t)
        train_step(model, opt, t)
        assert_masked(model, opt)
        assert bits(model.parameters()) == bits(parts[0].parameters())
    assert sparse.updates == parts[2].updates == [3, 6]


def test_attach_refuses_an_optimizer_of_other_weights():
    model, opt, sparse = setting()
    other = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"^optimizer must hold the model's weights, got none .*; build it on them$"):
        sparse.attach(other)
    assert sparse.optimizer is opt
    train_step(model, opt, 0)
    assert sparse.step == 1


def test_attach_waits_for_w():
    """Neither an optimizer that is at y can be taken, nor one that is at y be given up."""
    model = network()
    sparse = Fixed(model, 0.8)
    first, second = (WRAPS["s2sam"](BASES["momentum"](model.parameters())) for _ in range(2))
    train_step(model, first, 0)
    with first.perturbed(), pytest.raises(RuntimeError, match=r"^topology must change at w, got perturbed weights; .*"):
        sparse.attach(first)
    assert sparse.optimizer is None
    train_step(model, first, 1)
    assert sparse.step == 0  # no hook was left
    sparse.attach(first)
    with first.perturbed(), pytest.raises(RuntimeError, match=r"^topology must change at w, got perturbed weights; .*"):
        sparse.attach(second)
    assert sparse.optimizer is first
    train_step(model, first, 2)
    assert sparse.step == 1


def test_a_gradient_hook_registered_later_sees_masked_gradients():
    """The place to clip: a norm taken before the step counts pruned entries too."""
    model, opt, sparse = setting()
    norms = []
    opt.register_gradient_hook(lambda: norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 9e9)))
    train_step(model, opt, 0)
    expected = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])  # masked by then
    assert bits(norms) == bits([expected])
    assert sparse.step == 1


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("base", "wrap"), [("momentum", "s2sam"), ("adam", "s2sam"), ("momentum", "bare")])
@pytest.mark.parametrize("head", [2, 3, 4])
def test_a_run_resumes_exactly(base, wrap, skip, head):
    class Drawn(Moving):
        """Grows at random, so that the generator matters."""

        def _update(self, gradients):
            super()._update({n: self._random(n).float() for n in gradients})

    def build(seed):
        return setting(base, wrap, kind=Drawn, seed=seed, skip=skip)

    assert_resumes(build, lambda model, opt, sparse, t: train_step(model, opt, t), head=head, tail=6)


def test_loading_a_state_masks_what_was_loaded_before():
    """A model and an optimizer saved without care for masks, or loaded after them."""
    model, opt, sparse = setting("adam")
    train_step(model, opt, 0)
    state = sparse.state_dict()
    for w in sparse.weights.values():
        for t in (w.detach(), w.grad, *opt.state[w].values()):
            t.fill_(1.0)
    sparse.load_state_dict(state)
    assert_masked(model, opt)


def test_a_state_of_another_method_is_refused():
    _, _, sparse = setting()
    _, _, fixed = setting(kind=Fixed)
    with pytest.raises(ValueError, match=r"^state must be of Moving, got Fixed; load its own state$"):
        sparse.load_state_dict(fixed.state_dict())
    with pytest.raises(ValueError, match=r"^state must be of Moving, got None; load its own state$"):
        sparse.load_state_dict({})


def test_random_scores_come_from_the_controllers_own_generator():
    a, b, c = (Controller(network(), seed=s) for s in (0, 0, 1))
    before = torch.get_rng_state()
    first = a._random("fc1.weight")
    assert torch.equal(torch.get_rng_state(), before)
    assert first.dtype is torch.float64
    assert torch.equal(first, b._random("fc1.weight"))
    assert not torch.equal(first, c._random("fc1.weight"))
    assert not torch.equal(first, a._random("fc1.weight"))


def test_the_same_seed_gives_the_same_run():
    ends = []
    for seed in (0, 0, 1):
        model = network()
        sparse = Moving(model, 0.8, seed=seed)
        opt = WRAPS["s2sam"](BASES["momentum"](model.parameters()))
        sparse.attach(opt)
        for t in range(4):
            train_step(model, opt, t)
        ends.append(bits(sparse.masks.values()) + bits(model.parameters()))
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize("by_keyword", [False, True])
def test_the_loss_of_a_closure_comes_back(by_keyword):
    model, opt, _ = setting(wrap="bare", skip=True)

    def closure():
        opt.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    for _ in range(5):
        with torch.no_grad():
            expected = loss_of(model, 0)
        assert bits([opt.step(closure=closure) if by_keyword else opt.step(closure)]) == bits([expected])
        assert_masked(model, opt)


def test_two_controllers_share_a_model_and_an_optimizer():
    model = network()
    opt = WRAPS["s2sam"](BASES["momentum"](model.parameters()))
    convolutions, rest = Fixed(model, 0.5, layers=["conv1", "conv2"]), Moving(model, 0.9, layers=["fc1"])
    convolutions.attach(opt)
    rest.attach(opt)
    for t in range(4):
        train_step(model, opt, t)
        assert_masked(model, opt)
    assert (convolutions.step, rest.step, rest.updates) == (4, 4, [3])


def test_frozen_layers_are_pruned_too():
    model = network()
    model.conv1.weight.requires_grad_(False)
    opt = SAM(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9))
    sparse = Moving(model, 0.8)
    sparse.attach(opt)
    for t in range(4):
        train_step(model, opt, t, "closure")
        assert_masked(model, opt)
    assert sparse.updates == [3]
    assert (sparse.seen["conv1.weight"] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision(dtype):
    model, opt, sparse = setting(dtype=dtype)
    for t in range(4):
        train_step(model, opt, t)
        assert_masked(model, opt)
    assert {n: int(m.sum()) for n, m in sparse.masks.items()} == sparse.budget


@pytest.mark.parametrize("wrap", [SAM, S2SAM])
def test_the_base_inside_a_wrapper_is_refused(wrap):
    model = network()
    opt = wrap(torch.optim.SGD(model.parameters(), lr=0.1))
    sparse = RandomMask(model, 0.5)
    with pytest.raises(ValueError, match="optimizer must be the wrapper, got the base inside SAM or S2SAM"):
        sparse.attach(opt.base)  # it would not see that the weights are perturbed
    assert sparse.optimizer is None
    sparse.attach(opt)


def test_a_step_left_out_first_does_not_look_like_a_state_to_adam():
    # Adam initialises on an empty state; S2-SAM's buffer of a step without an update must not be the first thing there.
    model = network()
    sparse = RigL(model, 0.5, total_steps=100, interval=1)
    opt = S2SAM(torch.optim.Adam(model.parameters()))
    sparse.attach(opt)
    sparse.step = 1  # an update is due: the optimizer's very first batch serves the topology
    train_step(model, opt, 0, "loop", None)
    assert (sparse.step, sparse.last_update) == (1, 1)
    assert not any(opt.state.get(p) for p in model.parameters())
    train_step(model, opt, 1, "loop", None)
    assert all({"exp_avg", "ascent"} <= opt.state[p].keys() for p in model.parameters())


@pytest.mark.parametrize("method", [RandomMask, SNIP, LotteryTicket, SET, RigL, MEST, CHEX, Chase])
def test_a_signature_names_every_argument(method):
    shown = list(inspect.signature(method).parameters)
    assert shown[:4] == ["model", "sparsity", "distribution", "total_steps"]
    assert {"layers", "dense", "dense_first", "compensate", "seed"} < set(shown)
    assert not {"args", "options", "self"} & set(shown)
    if method is RigL:
        assert {"interval", "end_fraction", "alpha", "skip_step_on_update"} < set(shown)
