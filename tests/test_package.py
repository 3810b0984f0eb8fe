"""The package as a whole: import directions, documentation, size of modules, what is installed, what README shows."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("s2sam", "theory", "validation")
ALLOWED = {"s2sam": {"s2sam"}, "theory": {"theory"}, "validation": {"s2sam", "theory", "validation"}}
LAZY = {"certificates": {"sympy"}, "worst_case": {"PEPit", "cvxpy", "numpy"}}  # within functions of theory's rungs only
MODULES = sorted(
    m.name for p in PACKAGES for m in pkgutil.walk_packages(importlib.import_module(p).__path__, f"{p}.")
) + list(PACKAGES)


def imports(path: Path, *, late: bool = True) -> set[str]:
    """Top-level packages that a file imports, wherever the import stands; without those in functions if not `late`."""
    found = set()
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    within = set() if late else {inner for function in functions for inner in ast.walk(function)}
    for node in set(ast.walk(tree)) - within:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def forbidden(package: str, path: Path) -> set[str]:
    outside = imports(path) & set(PACKAGES) - ALLOWED[package]
    if package == "s2sam":
        outside |= imports(path) - set(sys.stdlib_module_names) - {"torch", "numpy", "s2sam"}
    if package == "theory":
        rung = LAZY.get(path.parent.name, set())
        outside |= imports(path) - set(sys.stdlib_module_names) - {"theory"} - rung
        outside |= imports(path, late=False) & rung
    return outside


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    assert {str(p): bad for p in sources(package) if (bad := forbidden(package, p))} == {}


def test_the_import_check_can_fail(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text("def late():\n    from validation.check import judge\n    import scipy\n")
    assert forbidden("s2sam", path) == {"validation", "scipy"}
    assert forbidden("theory", path) == {"validation", "scipy"}
    assert forbidden("validation", path) == set()
    (tmp_path / "certificates").mkdir()
    path = tmp_path / "certificates" / "wrong.py"
    path.write_text("import sympy\n")
    assert forbidden("theory", path) == {"sympy"}
    path.write_text("def late():\n    import sympy\n    import PEPit\n")
    assert forbidden("theory", path) == {"PEPit"}


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_stay_small(package):
    assert {p.name: n for p in sources(package) if (n := len(p.read_text().splitlines())) > 265} == {}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=flags).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_documented(name):
    module = importlib.import_module(name)
    public = [
        (k, v)
        for k, v in vars(module).items()
        if not k.startswith("_")
        and getattr(v, "__module__", None) == name
        and (inspect.isclass(v) or inspect.isfunction(v))
    ]
    missing = [k for k, v in public if not inspect.getdoc(v)]
    missing += [
        f"{k}.{method}"
        for k, v in public
        if inspect.isclass(v)
        for method, f in vars(v).items()
        if inspect.isfunction(f)
        and not method.startswith("_")
        and f.__name__ != "<lambda>"
        and not inspect.getdoc(getattr(v, method))
    ]
    assert module.__doc__
    assert missing == []


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")  # Lightning's
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_readme_examples_run():
    blocks = python_blocks((ROOT / "README.md").read_text())
    assert blocks, "README shows no Python"
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_readme_shows_exactly_two_set_up_commands():
    commands = re.findall(r"^pip install .*$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert commands == [
        "pip install -c constraints.txt '.[validation]' && s2sam validate",
        "pip install -c constraints.txt '.[validation,engines,translation,test]' && pytest",
    ]


def test_theory_imports_without_any_library():
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('sympy', 'PEPit', 'cvxpy', 'numpy', 'torch', 'mpmath'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name.partition('.')[0])\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from theory.certificates import CERTIFICATES\n"
        "from theory.worst_case import INSTANCES, Case, solve\n"
        "[instance.verify() for instance in INSTANCES]\n"
        "solve(Case(claim='B1', T=1, h=1.0))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("ModuleNotFoundError: worst cases need cvxpy")


def test_core_imports_without_the_extras():
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('scipy', 'matplotlib', 'typer', 'rich', 'sklearn', 'jinja2'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name.partition('.')[0])\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import s2sam, theory, validation\n"
        "validation.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("s2sam: the command needs")
    assert "pip install 's2sam[validation]'" in done.stderr
    assert "Traceback" not in done.stderr
