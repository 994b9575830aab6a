import os
import pickle

import pytest
import torch

from emca.errors import UserError
from train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.models import build_model


@pytest.fixture
def checkpoint(tiny) -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(
        config=tiny,
        classes=("a", "b"),
        palette=((1, 2, 3), (4, 5, 6)),
        iterations=7,
        miou=0.5,
        model=build_model(tiny.model, num_classes=2).state_dict(),
    )


def test_what_is_saved_comes_back(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "model.pth")
    loaded = load_checkpoint(tmp_path / "model.pth")
    for field in ("config", "classes", "palette", "iterations", "miou", "training"):
        assert getattr(loaded, field) == getattr(checkpoint, field)
    model = loaded.build()
    assert not model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, checkpoint.model[key]), key


def test_missing_truncated_and_foreign_files_are_named(checkpoint, tmp_path):
    path = tmp_path / "model.pth"
    with pytest.raises(UserError, match="no checkpoint at"):
        load_checkpoint(path)
    save_checkpoint(checkpoint, path)
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], whole[:10], b"", b"not a checkpoint at all"):
        path.write_bytes(part)
        with pytest.raises(UserError, match=r"model.pth' .*(damaged|refused)"):
            load_checkpoint(path)
    for tree in ({}, {"config": 3}, {"config": {}, "classes": None, "model": {"a": 1}}):
        torch.save({"format": "emca-checkpoint", "version": 1, **tree}, path)
        with pytest.raises(UserError, match="is no complete checkpoint"):
            load_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match="was not written by this project's training"):
        load_checkpoint(path)


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("writer", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_a_pickle_with_code_is_refused_and_not_run(writer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    writer({"format": "emca-checkpoint", "model": Evil()}, path)
    with pytest.raises(UserError, match=r"posix\.system"):
        load_checkpoint(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.model.pop("decoder.alien", None) or c.model.pop("decoder.query_feat.weight"),
         "lacks 'decoder.query_feat.weight'"),
        (lambda c: c.model.update({"decoder.alien": torch.ones(1)}), "holds 'decoder.alien'"),
        (lambda c: c.model.update({"decoder.class_embed.bias": torch.ones(9)}),
         r"'decoder.class_embed.bias' is \(9,\).*class count ask for \(3,\)"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named(checkpoint, change, message):
    change(checkpoint)
    with pytest.raises(UserError, match=message):
        checkpoint.build()


def test_a_failed_write_leaves_the_old_file(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    save_checkpoint(checkpoint, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(checkpoint, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
