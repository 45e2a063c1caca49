import ast
import importlib.util
import inspect
import os
import re
from pathlib import Path

import pytest

import companion

api = pytest.importorskip("mypy.api", reason="a type checker: install mypy")

TYPING = Path(__file__).parent / "typing"
ROOT = TYPING.parent.parent


@pytest.fixture(scope="module")
def refused():
    """By file, the errors of a strict check: line and code."""
    files = [TYPING / "wrong_calls.py", TYPING / "right_calls.py"]
    cache = ROOT / ".mypy_cache" if os.access(ROOT, os.W_OK) else os.devnull  # lint has filled it
    options = [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={cache}"]
    if importlib.util.find_spec("jax") is None:
        options.append("--ignore-missing-imports")
    report, trouble, _ = api.run([*options, *map(str, files)])
    assert not trouble
    errors = {file.name: [] for file in files}
    for line in report.splitlines():
        if found := re.match(r"(.+?):(\d+): error: .*\[([a-z-]+)\]$", line):
            errors[Path(found[1]).name].append((int(found[2]), found[3]))
    return errors


def calls():
    """Yield each call of the file of wrong ones: its name in companion, and its lines."""
    for statement in ast.parse((TYPING / "wrong_calls.py").read_text()).body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            yield statement.value.func.attr, range(statement.lineno, statement.end_lineno + 1)


def takes_something(name):
    return bool(inspect.signature(getattr(companion, name)).parameters)


def test_there_is_one_wrong_call_for_each_public_name_that_can_be_called():
    public = [n for n in companion.__all__ if not inspect.ismodule(getattr(companion, n))]
    assert [name for name, _ in calls()] == sorted(public)


def test_every_wrong_call_is_refused_for_its_arguments_and_no_other_line_is(refused):
    at = {line: name for name, lines in calls() for line in lines}
    errors = refused["wrong_calls.py"]
    assert {at.get(line, f"line {line}") for line, _ in errors} == set(at.values())
    kinds = {"arg-type", "list-item", "dict-item", "call-overload"}
    for line, code in errors:  # a call that takes nothing has but one way to be wrong
        assert code in (kinds if takes_something(at[line]) else {"call-arg"}), at[line]


def test_no_right_call_is_refused(refused):
    assert refused["right_calls.py"] == []
