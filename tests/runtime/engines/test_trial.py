import pytest
from engines import profile, write_engine

from emca.errors import UserError
from runtime.backends.base import ModelFile
from runtime.backends.onnx_runtime import OnnxRuntimeBackend
from runtime.engines.trial import check_parity, parity_line


class Shuffling(OnnxRuntimeBackend):
    """A builder's mistake: images of a batch come out in another order."""

    def infer(self, images):
        return {name: value[::-1] for name, value in super().infer(images).items()}


def engine(model, *batches):
    """What describes an engine with these (min, opt, max) batch sizes."""
    size = model.card.input_size
    return write_engine(
        model.path.parent, profiles=tuple(profile(*sizes, size=size) for sizes in batches)
    )


@pytest.mark.parametrize("head", ["labels", "scores"])
def test_every_corner_of_every_profile_is_tried(toys, head):
    model = ModelFile.read(toys.model(head=head, batch="N"))
    described = engine(model, (1, 2, 4), (8, 8, 8))
    result = check_parity(OnnxRuntimeBackend(model), described, model)
    assert result["run"]
    assert result["required"] == {"onnxruntime": 0.99, "smallest_batch": 0.97}
    assert all(corner["smallest_batch"] == 1.0 for corner in result["corners"])
    assert [(c["profile"], c["batch"], c["onnxruntime"]) for c in result["corners"]] == [
        *((0, 1, 1.0), (0, 2, 1.0), (0, 4, 1.0)),
        (1, 8, 1.0),
    ]
    assert parity_line(result) == (
        "Labels as onnxruntime's: 100.00% at batch 1, 100.00% at batch 2, 100.00% at batch 4, "
        "100.00% at batch 8."
    )


@pytest.mark.parametrize(("head", "batch"), [("labels", 2), ("masks", 1)])
def test_a_fixed_batch(toys, head, batch):
    model = ModelFile.read(toys.model(head=head, batch=batch))
    result = check_parity(OnnxRuntimeBackend(model), engine(model, (batch,) * 3), model)
    assert [c["onnxruntime"] for c in result["corners"]] == [1.0]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_images_in_the_wrong_place_show(toys, precision):
    model = ModelFile.read(toys.model(batch="N", card={"precision": precision}))
    wrong = Shuffling(model)
    assert check_parity(wrong, engine(model, (1, 1, 1)), model)["run"]
    with pytest.raises(UserError, match=r"at batch 2 the engine labels .*% are required"):
        check_parity(wrong, engine(model, (1, 2, 2)), model)


def test_a_batch_is_held_to_the_engine_itself(toys, monkeypatch):
    monkeypatch.setattr("runtime.engines.trial.REQUIRED", {"fp32": 0.0})
    model = ModelFile.read(toys.model(batch="N"))
    with pytest.raises(UserError, match=r"at batch 2 .* as at batch 1, and 97% are required"):
        check_parity(Shuffling(model), engine(model, (1, 2, 2)), model)


def test_wrong_labels_show_and_are_excused_where_nothing_was_learnt(toys):
    model = ModelFile.read(toys.model())
    other = OnnxRuntimeBackend(ModelFile.read(toys.model("other.onnx", noise=150)))
    with pytest.raises(
        UserError, match=r"model\.onnx: at batch 1 the engine labels [\d.]+% of pix"
    ):
        check_parity(other, engine(model, (1, 1, 1)), model)
    untrained = ModelFile.read(toys.model("new.onnx", card={"trained_iterations": 0}))
    result = check_parity(other, engine(untrained, (1, 1, 1)), untrained)
    assert result["required"] == {"onnxruntime": 0.0, "smallest_batch": 0.0}
    assert 0 < result["corners"][0]["onnxruntime"] < 0.99


def test_without_onnxruntime_it_is_said_that_nothing_was_compared(toys, monkeypatch):
    model = ModelFile.read(toys.model())
    backend = OnnxRuntimeBackend(model)
    monkeypatch.setattr("runtime.engines.trial.find_spec", lambda name: None)
    result = check_parity(backend, engine(model, (1, 1, 1)), model)
    assert result == {"run": False, "reason": "onnxruntime is not installed"}
    assert "not compared with onnxruntime: onnxruntime is not installed." in parity_line(result)
