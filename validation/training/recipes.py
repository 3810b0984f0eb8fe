"""Named configurations: the paper's tables that one accelerator can rerun, and small ones for a laptop.

A recipe is one cell of a table, by S2-SAM. The others are options beside it: `--optimizer sgd,sam,s2sam --seed 0,1,2`,
`--sparsity 0.95`, `--method snip,grasp,set`; D7's other fractions are `--method lt,lt-30,lt-40`.

Where the numbers come from. "Code" is the paper's (jjsrf/SSAM-NEURIPS2024 at e7d1632: scripts/
run_mag_prune_irregular_sp_0.9_sam.sh and the defaults of main_prune_train.py), for ResNet-32 trained sparse on CIFAR.
It holds magnitude masks and MEST only: to train LT, RigL, VGG-19, MobileNet-V2 and dense networks by its numbers is
this project's choice. Where the code differs from what a recipe does:

- its script asks for the adaptive perturbation; recipes make the paper's own, in which no weight scales it;
- its SGD has weight decay 1e-4 and its S2-SAM 5e-4; here all optimizers have 5e-4, so that one thing differs;
- it prunes the 30 convolutions of the blocks; here every convolution and linear layer is pruned;
- its script runs the soft bound (EM&S); the paper's table of D4 names EM. Here `mest` is EM, and `mest-s` EM&S;
- it divides by other standard deviations of the pixels; here they are those of the training images.

ImageNet (D6's other networks, D10) is out: its networks and the reading of its files are torchvision's.
"""

from dataclasses import replace

from validation.training.config import Config

_CIFAR = Config(
    method="mest",
    optimizer="s2sam",
    dataset="cifar10",
    model="resnet32",
    sparsity=0.9,  # of the paper's 90, 95 and 98 %
    rho=0.05,  # code: --sam-rho of the script
    epochs=160,  # code
    batch=64,  # code
    lr=0.1,  # code
    schedule="cosine",  # code: in every step, to 4e-8; here to 0
    momentum=0.9,  # code
    weight_decay=5e-4,  # code: default of the argument, which S2-SAM is given
    augment="crop-flip",  # code
)
_DENSE = replace(_CIFAR, method="dense", sparsity=0.0)
_SMALL = replace(_CIFAR, augment="none")  # lr, rho, momentum, decay as above; what is set below, this project's choice

RECIPES: dict[str, Config] = {
    "cifar10-resnet32-mest": _CIFAR,  # D4, D5
    "cifar10-resnet32-rigl": replace(_CIFAR, method="rigl"),  # D5
    "cifar10-resnet32-lt": replace(_CIFAR, method="lt"),  # D5, D7: 11 rounds of 160 epochs
    "cifar10-resnet32-dense": _DENSE,  # D6
    "cifar10-vgg19-dense": replace(_DENSE, model="vgg19"),  # D6
    "cifar10-mobilenet-v2-dense": replace(_DENSE, model="mobilenet-v2"),  # D6
    "cifar100-resnet32-mest": replace(_CIFAR, dataset="cifar100"),  # D5
    "fashion-resnet32-mest": replace(_SMALL, dataset="fashion-mnist", epochs=10, batch=128),
    "digits-mest": replace(_SMALL, dataset="digits", model="compact", epochs=20),
}
