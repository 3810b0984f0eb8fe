"""Lightning's automatic optimization, which calls `step(closure)`: ours; attached, micro-batches see y as well."""

import pytest
import torch
from engine_checks import STEPS, Net, build, data, loss_of, weights
from optim_support import bits
from torch.utils.data import DataLoader, Dataset

from s2sam import SAM

lightning = pytest.importorskip("pytorch_lightning")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),  # Lightning's
]


class Batches(Dataset):
    """One item is one batch, so that both loops see the same."""

    def __len__(self):
        return STEPS

    def __getitem__(self, t):
        x, y = data(torch.float32)
        return x[t], y[t]


class Module(lightning.LightningModule):
    def __init__(self, opt_of=build, attach=False):
        super().__init__()
        self.net, self.opt_of, self.attach = Net(torch.float32), opt_of, attach

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        self.opt = self.opt_of(self.net.parameters())
        if self.attach:
            self.opt.attach(self.net)
        return self.opt


def fit(module, epochs=1, checkpoint=None, **options):
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, DataLoader(Batches(), batch_size=None), ckpt_path=checkpoint)
    return trainer, weights(module.opt)


def exact(parameters):
    return SAM(torch.optim.SGD(parameters, lr=0.1, momentum=0.9), rho=0.2)


def plain(epochs=1, micro=1, opt_of=build, clip=None, autocast=False):
    model = Net(torch.float32)
    opt = opt_of(model.parameters())
    for k in range(epochs * STEPS // micro):

        def closure(k=k):
            opt.zero_grad()
            for t in range(k * micro, (k + 1) * micro):
                with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                    loss = loss_of(model, t % STEPS, dtype=torch.float32)
                (loss / micro).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            return loss

        opt.step(closure)
    return weights(opt)


@pytest.mark.parametrize("attach", [False, True])
def test_it_trains_as_the_plain_loop_does(attach):
    _, reached = fit(Module(attach=attach))
    assert bits([reached]) == bits([plain()])


def test_sam_by_lightnings_closure():
    _, reached = fit(Module(exact))
    assert bits([reached]) == bits([plain(opt_of=exact)])


def test_accumulation_needs_attach():
    """Lightning evaluates all micro-batches but the last outside of `step`: only a hook on the model sees them."""
    expected = plain(micro=2)
    _, reached = fit(Module(attach=True), accumulate_grad_batches=2)
    assert bits([reached]) == bits([expected])
    _, reached = fit(Module(attach=False), accumulate_grad_batches=2)
    assert bits([reached]) != bits([expected])


@pytest.mark.parametrize("attach", [False, True])
def test_clipping_and_mixed_precision(attach):
    _, reached = fit(Module(attach=attach), gradient_clip_val=0.05)
    assert bits([reached]) == bits([plain(clip=0.05)])
    _, reached = fit(Module(attach=attach), precision="bf16-mixed")
    assert bits([reached]) == bits([plain(autocast=True)])


@pytest.mark.parametrize("attach", [False, True])
def test_a_checkpoint_resumes_bit_for_bit(tmp_path, attach):
    trainer, _ = fit(Module(attach=attach))
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, reached = fit(Module(attach=attach), epochs=2, checkpoint=tmp_path / "half.ckpt")
    assert bits([reached]) == bits([plain(epochs=2)])
