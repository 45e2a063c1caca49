"""The house: who may import whom, and that nobody alters where Python looks."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What every room stands on, what makes a transformer of it, and what puts a transformer to use.
STEPS = ["packing", "positions", "projections", "scores", "softmax", "masks", "norms"]
GROUND = ["array_types", "libraries", "arrays", "parameters"]
MODEL = [*GROUND, *STEPS, "kernels", "attention", "heads", "feed_forward", "block"]
USES = ["encoder", "language_model", "cost", "examples", "loops"]
# The law: each room of the library, and the rooms that it may import from, which stand before it.
LAYERS = [
    ("array_types", []),
    ("libraries", ["array_types"]),
    ("extras", []),
    ("files", []),
    ("arrays", ["array_types", "libraries"]),
    ("parameters", ["libraries", "arrays"]),
    *[(step, GROUND) for step in STEPS],
    ("kernels", [*GROUND, *STEPS, "extras"]),
    ("attention", [*GROUND, *STEPS, "kernels"]),
    ("heads", [*GROUND, *STEPS, "attention"]),
    ("feed_forward", [*GROUND, *STEPS]),
    ("block", [*GROUND, *STEPS, "heads", "feed_forward"]),
    ("encoder", [*MODEL, "extras", "files"]),
    ("language_model", [*MODEL, "extras", "files"]),
    ("gradients", [*MODEL, "language_model"]),
    ("training", [*MODEL, "extras", "files", "language_model", "gradients"]),
    ("cost", MODEL),
    ("distributed", [*MODEL, "extras", "files", "encoder", "language_model", "gradients", "cost"]),
    ("examples", [*MODEL, "encoder", "language_model", "extras"]),
    ("loops", MODEL),
    ("pitfalls", [*MODEL, *USES]),
    ("exercises", [*MODEL, *USES, "pitfalls"]),
    ("figures.kit", ["arrays", "extras"]),
    ("figures", [*MODEL, *USES, "figures.kit"]),
    (
        "",
        [*MODEL, *USES, "gradients", "training", "distributed", "pitfalls"],
    ),  # what `import companion` offers
    ("generate_command", ["language_model"]),
    ("train_command", ["files", "language_model", "training"]),
    ("__main__", ["", *MODEL, *USES, "generate_command", "train_command"]),
]
OUTSIDE = {"book", "tests", "benchmarks", "notebooks"}
HEAVY = (
    "matplotlib cupy tokenizers safetensors jax torch dask distributed scipy tqdm gguf jinja2 "
    "ml_dtypes"
)


def imports(path: Path, module: str, known: set[str]) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it.

    Where something is taken out of a package it is that which counts if it is a module itself, and
    the package if not. Both count for `companion`, which has to be whole before it offers anything.
    """
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            taken = {f"{base}.{alias.name}" for alias in node.names}
            yield from (name if name in known else base for name in taken)
            yield from [base] * (base == "companion")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def modules(root: Path) -> dict[str, Path]:
    """Map the names of the library's modules to their files."""
    files = sorted((root / "companion").rglob("*.py"))
    names = [".".join(file.relative_to(root).with_suffix("").parts) for file in files]
    return dict(zip([name.removesuffix(".__init__") for name in names], files, strict=True))


def room(module: str) -> str | None:
    """Return the room that a module of the library is in; None if the law knows none."""
    name = module.removeprefix("companion").removeprefix(".")
    above = [name, *(name[:i] for i, sign in enumerate(name) if sign == ".")]
    return max(set(above) & set(dict(LAYERS)), key=len, default=None)


def problems(root: Path) -> list[str]:
    """Say what is against the law, one line each."""
    found, law, known = [], dict(LAYERS), modules(root)
    graph = {m: {*imports(path, m, set(known))} - {m} for m, path in known.items()}
    for module, imported in graph.items():
        home = room(module)
        allowed = (home, None, *law.get(home, ()))
        found += [f"{module} is in no layer"] * (home is None)
        for other in sorted(imported):
            if other.split(".")[0] in OUTSIDE or (
                other in known and home is not None and room(other) not in allowed
            ):
                found.append(f"{module} must not import {other}")
    try:
        graphlib.TopologicalSorter({m: graph[m] & set(graph) for m in graph}).prepare()
    except graphlib.CycleError as error:
        found.append("a cycle: " + " is imported by ".join(error.args[1]))
    return found


def test_the_library_keeps_the_law() -> None:
    assert problems(ROOT) == []


def test_the_law_is_in_order() -> None:
    rooms = [name for name, _ in LAYERS]
    assert len(set(rooms)) == len(rooms)
    for i, (name, allowed) in enumerate(LAYERS):
        assert set(allowed) <= set(rooms[:i]), name
    there = {room(module) for module in modules(ROOT)}
    assert there == set(rooms)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"softmax": "from companion.arrays import show\nimport numpy"}, None),
        ({"kernels/__init__": "", "kernels/tiled": "from companion.kernels import cpu"}, None),
        ({"kernels/tiled": "from . import cpu\nfrom .cpu import ROWS"}, None),
        ({"arrays": "import companion.softmax"}, "arrays must not import companion.softmax"),
        ({"softmax": "def f():\n    import companion.heads"}, "softmax must not import .*heads"),
        ({"softmax": "from companion import show"}, "softmax must not import companion"),
        ({"kernels/cpu": "from ..heads import f"}, "kernels.cpu must not import companion.heads"),
        ({"figures/kit/axis": "from companion.softmax import softmax"}, "axis must not import"),
        ({"exercises/heads": "from companion.figures import x"}, "must not import companion.fig"),
        ({"arrays": "importlib.import_module('companion.heads')"}, "must not import .*heads"),
        ({"whatever": ""}, "companion.whatever is in no layer"),
        ({"whatever/deep": "import numpy"}, "companion.whatever.deep is in no layer"),
        ({"arrays": "from benchmarks import gpu_record"}, "must not import benchmarks"),
        ({"heads": "def f():\n    import tests.support"}, "must not import tests.support"),
        ({"arrays": "import book.claims as claims"}, "arrays must not import book.claims"),
        (
            {"kernels/cpu": "from . import tiled", "kernels/tiled": "from . import cpu"},
            "a cycle: .*kernels.cpu is imported by .*kernels",
        ),
    ],
)
def test_a_breach_is_named(files: dict[str, str], problem: str | None, tmp_path: Path) -> None:
    tree = {"__init__": "", "arrays": "", "softmax": "", "heads": "", "figures/__init__": ""}
    for name, text in ({**tree, "kernels/cpu": ""} | files).items():
        path = tmp_path / "companion" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    found = problems(tmp_path)
    if problem is None:
        assert found == []
    else:
        assert len(found) == 1
        assert re.search(problem, found[0])


def test_the_library_is_light_to_import() -> None:
    code = f"import sys, companion; print(*sorted(set({HEAVY.split()}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("folder", ["book", "benchmarks", "companion", "notebooks", "tests", "."])
def test_no_path_is_altered(folder: str) -> None:
    altered = re.compile(r"\bsys\.path\b|(?i:pythonpath)|addsitedir|local_extensions")
    suffixes = {".py", ".ipynb", ".toml", ".yml", ".cfg", ""}
    files = (ROOT / folder).glob("*" if folder == "." else "**/*")
    for path in files:
        if path.is_file() and path.suffix in suffixes and path != Path(__file__):
            text = path.read_text(encoding="utf-8", errors="replace")  # coverage leaves bytes here
            assert not altered.search(text), path


def test_tests_share_what_is_no_test_and_the_book_is_built_without_them() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        for name in imports(path, path.stem, set()):
            assert not re.search(r"\b(test_\w+|conftest)\b", name), (path.name, name)
    for folder in ("book", "benchmarks", "notebooks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not [n for n in imports(path, path.stem, set()) if n.split(".")[0] == "tests"]
