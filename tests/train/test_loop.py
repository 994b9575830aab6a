import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import time

import foreign
import pytest
import torch
import yaml

from emca.errors import UserError
from train.checkpoint import load_checkpoint
from train.loop import Trainer
from train.models.backbones import build_backbone
from train.sources import load_source


def command(config, out, tmp_path, *extra):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(dataclasses.asdict(config)))))
    return [sys.executable, "-m", "train", str(path), "--out", str(out), *extra]


def weights(out):
    return load_checkpoint(out / "last.pth").model


def test_a_run_leaves_weights_metrics_and_the_best_model(tiny, tmp_path):
    Trainer(tiny, tmp_path, resume=False).run()
    best, last = load_checkpoint(tmp_path / "model.pth"), load_checkpoint(tmp_path / "last.pth")
    assert last.iterations == 6
    assert last.training is not None
    assert best.training is None
    assert best.classes == last.classes
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    evaluated = {line["step"]: line["miou"] for line in lines if "miou" in line}
    assert set(evaluated) == {3, 6}
    assert best.miou == pytest.approx(max(evaluated.values()), abs=1e-5)
    trained = next(line for line in lines if "loss" in line)
    assert trained["loss"] == pytest.approx(
        trained["class"] + trained["mask"] + trained["dice"], rel=1e-4
    )
    assert list((tmp_path / "tensorboard").iterdir())


def test_it_learns(tiny, tmp_path):
    tiny.iterations, tiny.eval_every, tiny.save_every = 40, 0, 40
    Trainer(tiny, tmp_path, resume=False).run()
    losses = [
        json.loads(line)["loss"]
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
        if "loss" in line
    ]
    assert losses[-1] < 0.8 * losses[0]


def test_killed_and_resumed_equals_uninterrupted(tiny, tmp_path):
    tiny.ema_decay, tiny.iterations, tiny.eval_every = 0.9, 14, 7
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    Trainer(tiny, whole, resume=False).run()

    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command(tiny, killed, tmp_path), env=environment)
    while not (killed / "last.pth").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stopped_at = load_checkpoint(killed / "last.pth").iterations
    assert stopped_at < 14
    subprocess.run(command(tiny, killed, tmp_path, "--resume"), env=environment, check=True)

    resumed = weights(killed)
    for key, value in weights(whole).items():
        assert torch.equal(value, resumed[key]), key
    average = load_checkpoint(whole / "last.pth").training["average"]
    again = load_checkpoint(killed / "last.pth").training["average"]
    assert all(torch.equal(value, again[key]) for key, value in average.items())
    lines = (killed / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(steps)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tiny, tmp_path, monkeypatch):
    trainer = Trainer(tiny, tmp_path, resume=False)
    real = trainer._step

    def poisoned(step, batch):
        if step == 4:
            with torch.no_grad():
                next(trainer.plain_model.parameters()).fill_(float("nan"))
        return real(step, batch)

    monkeypatch.setattr(trainer, "_step", poisoned)
    with pytest.raises(UserError, match=r"the loss is nan at step 4; .*last.pth"):
        trainer.run()
    kept = load_checkpoint(tmp_path / "last.pth")
    assert kept.iterations == 4
    assert all(value.isfinite().all() for value in kept.model.values())


def test_a_folder_with_a_run_is_not_overwritten(tiny, tmp_path):
    Trainer(tiny, tmp_path, resume=False).run()
    with pytest.raises(UserError, match="already holds a run; continue it with --resume"):
        Trainer(tiny, tmp_path, resume=False)
    tiny.learning_rate = 0.5
    with pytest.raises(UserError, match=r"with learning_rate=0.001, not 0.5"):
        Trainer(tiny, tmp_path, resume=True)


@pytest.fixture
def zoo(tmp_path):
    """A file of the model zoo with the same backbone and a decoder of the same width."""
    decoder = {"hidden_dim": 32, "conv_dim": 64, "project_levels": True}
    network = foreign.network(dataclasses.replace(foreign.MASK2FORMER, **decoder))
    return foreign.write_pickle(tmp_path / "zoo.pkl", foreign.mask2former_detectron2(network))


def test_init_starts_from_what_fits_of_another_checkpoint(tiny, tmp_path, zoo, caplog):
    tiny.init, tiny.iterations = str(zoo), 2
    theirs = load_source(str(zoo), tell=print).model
    caplog.set_level(logging.INFO)
    trainer = Trainer(tiny, tmp_path / "run", resume=False)
    ours = trainer.plain_model.state_dict()
    taken = [name for name in ours if name in theirs and ours[name].shape == theirs[name].shape]
    for name in taken:
        assert torch.equal(ours[name], theirs[name]), name
    assert {"backbone", "decoder"} < {name.split(".")[0] for name in taken}
    account = caplog.text
    assert "Mask2Former (detectron2): " in account
    assert f"init={zoo}: {len(taken)} of {len(ours)} tensors taken" in account
    assert "starts fresh: decoder.transformer_cross_attention_layers (" in account
    assert "starts fresh: pixel_decoder.mask_features (1 tensors), another shape" in account
    assert "'decoder.class_embed.weight' is (20, 32) there, (10, 32) here" in account
    assert "starts fresh: backbone" not in account
    assert "random weights" not in account

    trainer.run()
    trained = weights(tmp_path / "run")
    assert all(value.isfinite().all() for value in trained.values())
    learnt = "decoder.query_feat.weight"
    assert not torch.equal(trained[learnt], theirs[learnt])
    assert (trained[learnt] - theirs[learnt]).abs().max() < 0.1

    zoo.unlink()  # a run that resumes has its own weights
    resumed = Trainer(tiny, tmp_path / "run", resume=True)
    assert "random weights" not in caplog.text
    assert resumed.start == 2
    assert torch.equal(resumed.plain_model.state_dict()[learnt], trained[learnt])


def test_init_of_nothing_that_fits_is_an_error(tiny, tmp_path):
    path = tmp_path / "pidnet.pt"
    torch.save(foreign.pidnet(foreign.network(foreign.PIDNET)), path)
    tiny.init = str(path)
    with pytest.raises(UserError, match=r"pidnet\.pt: none of its \d+ tensors fits this model"):
        Trainer(tiny, tmp_path / "run", resume=False)
    tiny.init = str(tmp_path / "nothing.pth")
    with pytest.raises(UserError, match=r"no checkpoint at '.*nothing\.pth'"):
        Trainer(tiny, tmp_path / "run", resume=False)
    assert not (tmp_path / "run" / "last.pth").exists()


def test_no_steps_write_an_untrained_model(tiny, tmp_path, caplog):
    tiny.iterations = 0
    with caplog.at_level(logging.INFO):
        Trainer(tiny, tmp_path, resume=False).run()
    assert caplog.text.count("backbone resnet18: random weights") == 1
    caplog.clear()
    untrained = load_checkpoint(tmp_path / "model.pth")
    assert untrained.iterations == 0
    with caplog.at_level(logging.INFO):
        untrained.build()
    assert "backbone" not in caplog.text


def test_a_pretrained_backbone_is_named(tiny, tmp_path, caplog):
    weights = tmp_path / "stdc1.pth"
    torch.save(build_backbone("stdc1").state_dict(), weights)
    tiny.model = dataclasses.replace(tiny.model, backbone="stdc1", backbone_weights=str(weights))
    with caplog.at_level(logging.INFO):
        Trainer(tiny, tmp_path / "run", resume=False)
    assert f"backbone stdc1: pretrained ({weights}) weights" in caplog.text


PROBE = """
import sys, torch
from train.config import from_dict
from train.loop import Trainer
from train.models.backbones import build_backbone
import yaml, pathlib
config = from_dict(yaml.safe_load(open(sys.argv[1])))
out = pathlib.Path(sys.argv[2])
trainer = Trainer(config, out, resume=False)
batch = next(iter(trainer._batches(1)))
trainer.optimizer.zero_grad = lambda *a, **k: None
trainer._step(0, batch)
if trainer.accelerator.is_main_process:
    out.mkdir(exist_ok=True)
    torch.save({k: p.grad for k, p in trainer.plain_model.named_parameters()}, out / "grads.pth")
trainer.accelerator.end_training()
"""


def test_two_processes_have_the_gradients_of_one_with_the_whole_batch(tiny, tmp_path):
    tiny.freeze_norm, tiny.gradient_clip = True, 0.0
    teacher = dataclasses.replace(tiny, iterations=0, seed=7)
    Trainer(teacher, tmp_path / "teacher", resume=False).run()
    tiny.teacher = str(tmp_path / "teacher" / "model.pth")
    command(tiny, tmp_path, tmp_path)
    probe = tmp_path / "probe.py"
    probe.write_text(PROBE)
    gradients = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
        launcher += ["--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
        subprocess.run(
            [sys.executable, *launcher, str(probe), str(tmp_path / "tiny.yaml"), str(out)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
            check=True,
            capture_output=True,
        )
        gradients.append(torch.load(out / "grads.pth", weights_only=True))
    one, two = gradients
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert value.abs().max() > 0, key
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["demo", "learing_rate=1"], "unknown configuration key 'learing_rate'"),
        (["nowhere"], "no preset or file 'nowhere'"),
        (["demo", "train_data=camvid:/nowhere:train"], "/nowhere"),
        (["demo", "model.backbone=resnet81"], "unknown backbone 'resnet81'"),
        (["demo", "--rseume"], "--rseume"),
        (["demo", "init=nothing.pth"], "no checkpoint at 'nothing.pth'"),
        (["demo", "init=README.md"], "'README.md' is no readable pickle"),
        (["demo", "init=model.fp16.onnx"], "'model.fp16.onnx' is an exported file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(extra, message, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "train", *extra, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out" / "last.pth").exists()
