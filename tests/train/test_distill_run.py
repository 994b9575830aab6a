import dataclasses
import json
import logging

import pytest
import torch
from tiny import tiny_config

from emca.errors import UserError
from segdata.datasets import open_dataset
from train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.config import Config
from train.distill import load_teacher
from train.loop import Trainer
from train.models import build_model

SCENES = open_dataset("scenes::train").taxonomy.classes
TERMS = ("distill_class", "distill_mask", "distill_dice")


def save(config: Config, path, classes: tuple[str, ...] = SCENES) -> str:
    """An untrained checkpoint of a network."""
    torch.manual_seed(5)
    network = build_model(config.model, num_classes=len(classes))
    checkpoint = Checkpoint(
        config=config,
        classes=classes,
        palette=((0, 0, 0),) * len(classes),
        iterations=1,
        miou=None,
        model=network.state_dict(),
    )
    save_checkpoint(checkpoint, path)
    return str(path)


@pytest.mark.parametrize(
    ("student", "teacher", "classes", "message"),
    [
        (
            "semantic_fpn",
            {},
            SCENES,
            "a semantic_fpn has no queries to teach; leave teacher= empty",
        ),
        (
            "mask2former",
            {"architecture": "semantic_fpn"},
            SCENES,
            "a semantic_fpn has no queries to learn from; give a checkpoint of mask2former or",
        ),
        (
            "mask2former",
            {},
            (*SCENES[:2], "moon", *SCENES[3:]),
            f"class 2 is moon there and {SCENES[2]} in train_data; give a teacher of the same",
        ),
        ("mask2former", {}, SCENES[:-1], f"class {len(SCENES) - 1} is missing there and "),
    ],
)
def test_a_teacher_that_cannot_teach_is_named(student, teacher, classes, message, tmp_path):
    path = save(tiny_config(model=teacher), tmp_path / "teacher.pth", classes)
    config = tiny_config(model={"architecture": student}, teacher=path)
    with pytest.raises(UserError, match=f"teacher={path}: {message}"):
        load_teacher(config, SCENES)
    with pytest.raises(UserError, match=r"no checkpoint at '.*nothing\.pth'"):
        load_teacher(tiny_config(teacher=str(tmp_path / "nothing.pth")), SCENES)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Trainer, dict[str, torch.Tensor]]:
    """A finished run with a MaskFormer as its teacher, and the teacher's tensors before it."""
    folder = tmp_path_factory.mktemp("distill")
    model = {"architecture": "maskformer", "num_queries": 7, "decoder_layers": 1}
    teacher = save(tiny_config(model=model), folder / "teacher.pth")
    config = tiny_config(teacher=teacher, ema_decay=0.9, eval_every=0)
    trainer = Trainer(config, folder / "whole", resume=False)
    before = {key: value.clone() for key, value in trainer.distillation.state_dict().items()}
    trainer.run()
    return trainer, before


def test_a_run_with_a_teacher_logs_its_terms_and_saves_the_student_alone(run):
    trainer, before = run
    lines = [json.loads(line) for line in (trainer.out / "metrics.jsonl").read_text().splitlines()]
    trained = next(line for line in lines if "loss" in line)
    assert all(trained[name] > 0 for name in TERMS)
    parts = sum(trained[name] for name in ("class", "mask", "dice", *TERMS))
    assert trained["loss"] == pytest.approx(parts, rel=1e-4)

    assert not any(module.training for module in trainer.distillation.teacher.modules())
    after = trainer.distillation.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    own = build_model(trainer.config.model, num_classes=len(SCENES)).state_dict().keys()
    last = load_checkpoint(trainer.out / "last.pth")
    assert last.model.keys() == last.training["average"].keys() == own
    assert load_checkpoint(trainer.out / "model.pth").model.keys() == own
    learnt = sum(len(group["params"]) for group in last.training["optimizer"]["param_groups"])
    assert learnt == len(list(trainer.plain_model.parameters()))


def test_a_run_with_a_teacher_resumes_exactly(run, tmp_path, monkeypatch, caplog):
    config = run[0].config
    with caplog.at_level(logging.INFO):
        stopped = Trainer(config, tmp_path, resume=False)
    assert f"teacher {config.teacher}: maskformer on resnet18" in caplog.text
    real = stopped._step

    def failing(step, batch):
        if step == 4:
            raise KeyboardInterrupt
        return real(step, batch)

    monkeypatch.setattr(stopped, "_step", failing)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = Trainer(config, tmp_path, resume=True)
    assert resumed.start == 4
    resumed.run()
    whole, again = (load_checkpoint(out / "last.pth").model for out in (run[0].out, tmp_path))
    assert all(torch.equal(value, again[key]) for key, value in whole.items())
    with pytest.raises(UserError, match=r"it was trained with teacher=.*teacher\.pth, not ;"):
        Trainer(dataclasses.replace(config, teacher=""), tmp_path, resume=True)
