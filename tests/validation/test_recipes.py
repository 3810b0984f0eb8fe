"""Recipes: valid, as stated, overridden by any option, and trained from files by the command."""

import json
import re
from dataclasses import fields, replace

import pytest
from cifar_files import files, write
from typer.testing import CliRunner

from validation.cli import app
from validation.datasets import DATASETS
from validation.models import MODELS
from validation.training import Config
from validation.training import command as train_command
from validation.training.recipes import RECIPES


def train(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


@pytest.fixture
def asked(monkeypatch):
    """The configurations that a command would train; nothing is trained."""
    found = []

    def check(configs, out, resume):
        found.extend(configs)
        raise ValueError("stop here")

    monkeypatch.setattr(train_command, "check", check)
    return found


def test_the_paper_s_tables_have_their_recipes():
    # theory.md, D: networks and data of D4 to D7
    assert {
        "cifar10-resnet32-mest",
        "cifar10-resnet32-dense",
        "cifar10-resnet32-lt",
        "cifar10-resnet32-rigl",
        "cifar100-resnet32-mest",
        "fashion-resnet32-mest",
        "digits-mest",
    } <= RECIPES.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_a_name_says_what_the_configuration_is(name):
    c = RECIPES[name]
    assert c == replace(c)  # checked again as it is made
    data, *network, method = name.split("-")
    assert c.dataset == {"fashion": "fashion-mnist"}.get(data, data)
    assert c.model == ("-".join(network) or "compact")
    assert c.method == method
    assert (c.sparsity == 0) == (method == "dense")
    assert (c.optimizer, c.seed, c.validation, c.train_size, c.label_noise) == ("s2sam", 0, 0.0, None, 0.0)
    assert c.augment == ("crop-flip" if data.startswith("cifar") else "none")
    assert c.data_dir is None
    assert c.dataset in DATASETS
    assert c.model in MODELS


def check_published(recipes):
    """Batch 64, 160 epochs, lr 0.1 along a cosine, momentum 0.9, decay 5e-4, rho 0.05."""
    for name, c in recipes.items():
        if name.startswith("cifar"):
            assert (c.batch, c.epochs, c.lr, c.schedule) == (64, 160, 0.1, "cosine")
            assert (c.momentum, c.weight_decay, c.rho) == (0.9, 5e-4, 0.05)


def test_the_numbers_are_those_of_the_released_code():
    check_published(RECIPES)
    for change in ({"batch": 128}, {"weight_decay": 1e-4}, {"schedule": "steps"}, {"rho": 0.5}):
        mutant = RECIPES | {"cifar10-resnet32-lt": replace(RECIPES["cifar10-resnet32-lt"], **change)}
        with pytest.raises(AssertionError):
            check_published(mutant)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_alone_is_trained_as_it_stands(name, asked, tmp_path):
    assert "stop here" in train("--recipe", name, "--out", tmp_path).output
    assert asked == [RECIPES[name]]


OPTIONS = {
    "dataset": "digits",
    "model": "mlp",
    "sparsity": 0.25,
    "epochs": 3,
    "batch": 7,
    "lr": 0.3,
    "rho": 0.7,
    "momentum": 0.0,  # falsy values are given values
    "weight_decay": 0.0,
    "augment": "none",
    "threads": 2,
    "data_dir": "elsewhere",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_any_option_beside_a_recipe_overrides_it(option, asked, tmp_path):
    train("--recipe", "cifar10-resnet32-mest", f"--{option.replace('_', '-')}", OPTIONS[option], "--out", tmp_path)
    wanted = replace(RECIPES["cifar10-resnet32-mest"], **{option: OPTIONS[option]})
    assert [(c, c.data_dir) for c in asked] == [(wanted, wanted.data_dir)]


def test_lists_beside_a_recipe_are_trained_in_all_combinations(asked, tmp_path):
    lists = ("--method", "set,rigl", "--optimizer", "sgd,sam", "--seed", "1,2")
    train("--recipe", "digits-mest", *lists, "--out", tmp_path)
    wanted = [("set", "sgd"), ("set", "sam"), ("rigl", "sgd"), ("rigl", "sam")]
    assert [(c.method, c.optimizer, c.seed) for c in asked] == [(*pair, seed) for pair in wanted for seed in (1, 2)]
    assert {replace(c, method="mest", optimizer="s2sam", seed=0) for c in asked} == {RECIPES["digits-mest"]}


def test_without_a_recipe_the_defaults_are_those_of_the_data_set(asked, tmp_path):
    train("--out", tmp_path)
    train("--dataset", "cifar100", "--method", "mest", "--out", tmp_path)
    assert asked == [Config(), RECIPES["cifar100-resnet32-mest"]]
    assert {f.name for f in fields(Config)} >= OPTIONS.keys()


@pytest.mark.parametrize("name", ["cifar10", "", "list"])
def test_an_unknown_recipe_is_one_line_that_names_them_all(name, tmp_path):
    done = train("--recipe", name, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert f"--recipe must be one of {', '.join(RECIPES)}, got {name or 'nothing'}; pick one" in done.output
    assert not (tmp_path / "out").exists()


def test_the_help_names_every_recipe():
    text = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    words = "".join(re.findall(r"[a-z0-9-]+", text))  # however lines are broken
    assert all(name in words for name in RECIPES)


def test_a_recipe_is_trained_from_a_folder_of_files(tmp_path):
    """ResNet-32's recipe on 20 images of CIFAR's format, with the smallest of its family in its place."""
    folder = write(tmp_path / "data" / "cifar-10-batches-bin", files(10))
    small = ("--model", "resnet8", "--epochs", 1, "--batch", 10)
    done = train("--recipe", "cifar10-resnet32-mest", *small, "--data-dir", folder.parent, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    (row,) = (json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines())
    assert (row["run"], row["model"], row["augment"], row["step"]) == ("mest-s2sam-0", "resnet8", "crop-flip", 2)
    assert row["kept"] == row["promised"]
    assert "data_dir" not in row


def test_a_recipe_without_its_files_says_what_to_give(tmp_path):
    done = train("--recipe", "cifar10-resnet32-dense", "--out", tmp_path)
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert "cifar10 must be given its folder, got none; name with --data-dir" in done.output
