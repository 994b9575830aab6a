import dataclasses
import logging

import pytest
import torch

from emca.errors import UserError
from train.checkpoint import load_checkpoint, save_checkpoint
from train.loop import Trainer


@pytest.fixture
def untrained(tiny, tmp_path):
    """A checkpoint to start from."""
    Trainer(dataclasses.replace(tiny, iterations=0), tmp_path / "start", resume=False).run()
    return tmp_path / "start" / "model.pth"


def ranges_of(state):
    return {name: value for name, value in state.items() if name.endswith("quantizer.range")}


def test_quantised_training_starts_from_a_model_and_resumes_exactly(tiny, tmp_path, untrained):
    tiny.quantize, tiny.eval_every, tiny.ema_decay = "int8", 0, 0.9
    with pytest.raises(UserError, match="quantize=int8 fine-tunes a trained model; give it as ini"):
        Trainer(tiny, tmp_path / "none", resume=False)
    tiny.init = str(untrained)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    Trainer(tiny, whole, resume=False).run()
    trainer = Trainer(tiny, stopped, resume=False)
    real = trainer._step

    def breaking(step, batch):
        if step == 2:  # while ranges follow the weights
            raise KeyboardInterrupt
        return real(step, batch)

    trainer._step = breaking
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    early = ranges_of(load_checkpoint(stopped / "last.pth").model)
    Trainer(tiny, stopped, resume=True).run()

    last, again = load_checkpoint(whole / "last.pth"), load_checkpoint(stopped / "last.pth")
    for key, value in last.model.items():
        assert torch.equal(value, again.model[key]), key
        assert torch.equal(last.training["average"][key], again.training["average"][key]), key
    ranges = ranges_of(last.model)
    assert len(ranges) > 50
    assert all(value > 0 for value in ranges.values())
    assert any(value != early[name] for name, value in ranges.items())
    averaged = ranges_of(load_checkpoint(whole / "model.pth").model)
    for name, value in ranges.items():
        torch.testing.assert_close(averaged[name], value, rtol=0.1, atol=0)


def test_weights_that_are_not_finite_stop_a_quantised_training(tiny, tmp_path, untrained):
    tiny.init, tiny.quantize = str(untrained), "int8"
    source = load_checkpoint(untrained)
    broken = dict(source.model)
    name = next(name for name, value in broken.items() if value.dim() == 4)
    broken[name] = broken[name].clone()
    broken[name][0, 0, 0, 0] = torch.nan
    save_checkpoint(dataclasses.replace(source, model=broken), untrained)
    with pytest.raises(UserError, match="a range of INT8 is nan on the training data"):
        Trainer(tiny, tmp_path / "run", resume=False).run()
    assert not (tmp_path / "run" / "last.pth").exists()


def test_no_steps_of_quantised_training_find_the_ranges_alone(tiny, tmp_path, untrained, caplog):
    tiny.iterations, tiny.init, tiny.quantize = 0, str(untrained), "int8"
    Trainer(tiny, tmp_path / "run", resume=False).run()
    source = load_checkpoint(untrained)
    found = load_checkpoint(tmp_path / "run" / "model.pth")
    ranges = ranges_of(found.model)
    assert found.model.keys() - source.model.keys() == ranges.keys()
    assert all(torch.equal(value, found.model[name]) for name, value in source.model.items())
    assert all(value > 0 for value in ranges.values())
    image = torch.randint(0, 256, (1, 3, 64, 64)).float()
    rounded, exact = (file.build()(image).mask_logits for file in (found, source))
    assert 0 < (rounded - exact).abs().max() < exact.abs().max()

    assert (found.iterations, found.imported_from) == (0, "")
    source = dataclasses.replace(source, iterations=70, imported_from="elsewhere")
    save_checkpoint(source, untrained)
    Trainer(tiny, tmp_path / "known", resume=False).run()
    found = load_checkpoint(tmp_path / "known" / "model.pth")
    assert (found.iterations, found.imported_from) == (70, "elsewhere")

    tiny.init, tiny.quantize = str(tmp_path / "run" / "model.pth"), ""
    caplog.set_level(logging.INFO)
    Trainer(tiny, tmp_path / "float", resume=False)
    assert f"{len(source.model)} of {len(source.model)} tensors taken" in caplog.text
