"""``python -m companion train``, as a new user calls it, with a model that is smaller still."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import companion
from companion import __main__ as command
from companion import train_command
from companion.training import loop, state

ROOT = Path(__file__).parent.parent
SMALL = {"CONTEXT": 16, "BATCH": 2, "VALIDATION": 65, "VOCABULARY": 280}
real_config = train_command.small_config
STORY = "The black cat ran quickly. The hat of the cat ran after it, and the cat was glad.\n"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setenv("COMPANION_THREADS", "1")
    for name, value in SMALL.items():
        monkeypatch.setattr(train_command, name, value)
    monkeypatch.setattr(train_command, "small_config", smaller_config)


def smaller_config(vocabulary_size):
    sizes = {"layer_count": 1, "width": 16, "head_dim": 4, "hidden_width": 20}
    return replace(real_config(vocabulary_size), **sizes)


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(STORY * 20, encoding="utf-8")
    return str(path)


def train(*arguments):
    return command.main(["train", "--text", *map(str, arguments)])


def test_a_text_becomes_a_model_that_writes(story, tmp_path, capsys):
    folder = tmp_path / "model"
    assert train(story, "--output", folder, "--steps", 40) == 0
    said, errors = capsys.readouterr()
    first, *_, last = said.splitlines()
    assert first.startswith("40 steps of 32 tokens, ")
    assert "minutes" in first
    assert last.startswith(f"python -m companion generate --model {folder} ")
    assert "Traceback" not in errors
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "training.safetensors",
    }
    curve = companion.load_training(folder, xp=np).curve
    assert curve[-1].validation_loss < curve[0].validation_loss - 0.5
    assert command.main(["generate", "--model", str(folder), "The ", "--max-new-tokens", "9"]) == 0
    assert len(capsys.readouterr().out) > len("The \n")


def test_the_minutes_are_said_and_kept_to(story, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train_command, "_seconds", lambda *_: (0.5, 0.25))
    planned = []

    def noted(state, *_, **__):
        planned.append(state.plan)
        return state

    monkeypatch.setattr(train_command, "train", noted)
    assert train(story, "--output", tmp_path / "a", "--minutes", 2) == 0
    assert planned[0].steps == (120 - 20 * 0.25) / 0.5
    said = capsys.readouterr().out
    assert said.startswith("230 steps of 32 tokens, ")
    assert "about 2.0 minutes." in said
    assert train(story, "--output", tmp_path / "b") == 0
    assert "about 5.0 minutes." in capsys.readouterr().out


def test_an_interrupt_is_said_and_resume_goes_on_to_the_same_bits(
    story, tmp_path, capsys, monkeypatch
):
    whole, apart = tmp_path / "whole", tmp_path / "apart"
    assert train(story, "--output", whole, "--steps", 4) == 0
    real = state.advance

    def interrupted(before, *args):
        if before.step == 2:
            raise KeyboardInterrupt
        return real(before, *args)

    monkeypatch.setattr(loop, "advance", interrupted)
    assert train(story, "--output", apart, "--steps", 4) == 130
    assert f"Stopped; --resume goes on from {apart}." in capsys.readouterr().err
    monkeypatch.setattr(loop, "advance", real)
    assert train(story, "--output", apart, "--resume") == 0
    assert "Going on after step 2 of 4." in capsys.readouterr().out
    for path in whole.iterdir():
        assert path.read_bytes() == (apart / path.name).read_bytes(), path.name


def test_an_interrupt_before_the_first_step_says_that_there_is_nothing(
    story, tmp_path, capsys, monkeypatch
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "_seconds", interrupted)
    assert train(story, "--output", tmp_path / "model") == 130
    assert "Stopped; nothing has begun yet." in capsys.readouterr().err


PROGRAM = f"""
import sys
from dataclasses import replace
from companion import __main__ as command, train_command
config = train_command.small_config
train_command.small_config = lambda v: replace(config(v), layer_count=1, width=16, hidden_width=20)
for name, value in {SMALL}.items():
    setattr(train_command, name, value)
sys.exit(command.main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_a_real_interrupt_loses_nothing(story, tmp_path):
    folder = tmp_path / "model"
    arguments = ["train", "--text", story, "--output", str(folder), "--steps", "100000"]
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        deadline = time.monotonic() + 60
        while not (folder / "training.safetensors").exists():
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130
    assert "Traceback" not in errors
    assert "Stopped; --resume goes on from" in errors
    kept = companion.load_training(folder, xp=np)
    assert 0 < kept.step < 5000  # no checkpoint was due: it was written because of the signal
    assert [point.step for point in kept.curve] == list(range(kept.step + 1))
    assert not list(folder.glob("*.part"))


def test_several_texts_are_documents_that_end(story, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("And then?\n" * 30, encoding="utf-8")
    tokenizer = companion.train_tokenizer([Path(story).read_text(), other.read_text()], 280)
    texts = [Path(story).read_text(), other.read_text()]
    text, held = train_command._parts(tokenizer, texts)
    ids = np.concatenate([text.token_ids, held.token_ids])
    numbers = np.concatenate([text.documents, held.documents])
    assert np.flatnonzero(ids == 0).tolist() == [np.sum(numbers == 0) - 1, len(ids) - 1]
    assert tokenizer.decode(ids[numbers == 1].tolist()) == texts[1]


def refused(capsys, *arguments):
    assert train(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("python -m companion train: ")
    assert error.count("\n") == 1
    return error


def test_what_cannot_be_learnt_from_is_refused(story, tmp_path, capsys):
    paths = {name: tmp_path / name for name in ("empty", "short", "damaged")}
    paths["empty"].write_text("")
    paths["short"].write_text("The cat.")
    paths["damaged"].write_bytes(b"caf\xe9 " * 100)
    assert "is empty" in refused(capsys, paths["empty"])
    assert "text must make more than 18 tokens" in refused(capsys, paths["short"])
    assert "must be undamaged UTF-8" in refused(capsys, paths["damaged"])
    assert "must hold the file nowhere" in refused(capsys, tmp_path / "nowhere")
    assert "--minutes must be a positive number" in refused(capsys, story, "--minutes", "-1")
    assert "steps must be at least 1, got 0" in refused(capsys, story, "--steps", "0")
    assert not list(tmp_path.glob("*-model"))


def test_what_is_there_is_not_overwritten_and_what_is_not_does_not_go_on(story, tmp_path, capsys):
    folder = tmp_path / "model"
    missing = refused(capsys, story, "--output", folder, "--resume")
    assert "must hold the file training.safetensors" in missing
    assert train(story, "--output", folder, "--steps", 1) == 0
    capsys.readouterr()
    before = (folder / "training.safetensors").read_bytes()
    assert "--resume goes on with it" in refused(capsys, story, "--output", folder)
    another = tmp_path / "another.txt"
    another.write_text(STORY * 19, encoding="utf-8")
    error = refused(capsys, another, "--output", folder, "--resume")
    assert "must be those that the training began with" in error
    wider = companion.train_tokenizer([STORY * 20], 400).tokenizer
    (folder / "tokenizer.json").write_text(wider.to_str(), encoding="utf-8")
    error = refused(capsys, story, "--output", folder, "--resume")
    assert "must have ids below vocab_size=" in error
    assert (folder / "training.safetensors").read_bytes() == before


def test_a_training_that_goes_wrong_says_so(story, tmp_path, capsys, monkeypatch):
    def spoilt(*_, **__):
        raise FloatingPointError("step 1: the loss is nan")

    monkeypatch.setattr(loop, "advance", spoilt)
    error = refused(capsys, story, "--output", tmp_path / "model", "--steps", "3")
    assert "step 1: the loss is nan" in error
    assert "keeps that of step 0" in error


def test_the_books_small_model_has_the_sizes_that_the_book_names():
    config = real_config(1024)
    sizes = companion.language_model_tensors(config).values()
    assert 920_000 < sum(int(np.prod(shape)) for shape in sizes) < 925_000
    with pytest.raises(SystemExit):
        train("a", "--minutes", "3", "--resume")
