import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from runtime.backends import ModelFile, load
from runtime.embed import embed, main
from segdata.datasets import open_dataset
from segdata.preprocess import fit, restore

SCENES = "scenes:n=4,size=96x128:val"


def scene(size):
    image = open_dataset("scenes:n=1,size=96x128:val", labels=False)[0].image
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def run(model, image, *outputs):
    """Named tensors of the graph."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image[None]})


# Larger and smaller, padded below, at the right and not at all, odd sizes.
@pytest.mark.parametrize("size", [(96, 128), (72, 128), (100, 101), (20, 90), (33, 17), (24, 200)])
def test_the_network_sees_the_fitted_image_and_the_labels_come_back(toys, size):
    file = ModelFile.read(toys.model())
    embedded = embed(file, size)
    assert embedded.card.input_size == size
    image = scene(size)
    reads = next(node for node in embedded.proto.graph.node if node.output[0] == "scaled").input[0]
    seen, inside, labels = run(embedded.proto, image, reads, "winners", "labels")
    expected = fit(image, toys.size)
    difference = np.abs(seen[0].transpose(1, 2, 0) - expected.astype(np.float32))
    assert difference.max() <= 1
    assert (seen == seen.round()).all()
    assert (difference == 0).mean() > 0.9
    assert (labels[0] == restore(inside[0].astype(np.uint8), size)).all()
    assert labels.shape == (1, *size)
    assert len(np.unique(labels)) > 1


def test_an_open_batch_stays_open(toys, backend_name):
    main([str(toys.model(batch="N")), "--source=96x100", f"--data={SCENES}"])
    backend = load(toys.folder / "model.96x100.onnx", backend_name)
    images = np.stack([scene((96, 100)), scene((96, 100))[:, ::-1]])
    labels = backend.infer(images)["labels"]
    assert labels.shape == (2, 96, 100)
    assert (labels[0] != labels[1]).any()
    assert (labels[1] == backend.infer(images[1:])["labels"][0]).all()


def test_the_command_writes_a_file_and_says_how_close_it_is(toys, capsys):
    model = toys.model(card={"precision": "int8"})
    main([str(model), "--source", "96x128", "--data", SCENES])
    out = capsys.readouterr().out
    assert "labels agree with preprocessing outside on 100.00 % of pixels" in out  # half size
    card = ModelFile.read(toys.folder / "model.96x128.onnx").card
    assert (card.precision, card.input_size) == ("int8", (96, 128))
    assert "runtime.embed" in card.command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source=720"], "--source 720: write HEIGHTxWIDTH"),
        (["--source=-1x20"], "write HEIGHTxWIDTH"),
        (["--source=720x2"], "sides are 16 to 16384 pixels"),
        (["--source=48x64"], "takes 48x64 as it is; nothing to embed"),
        (["--source=96x128", "-o", "a.txt"], "give one that ends in .onnx"),
        (["--source=96x128", "--data=nowhere:x"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(toys, failing, words, message):
    model = toys.model()
    assert message in failing(main, model, *words)
    assert [path.name for path in toys.folder.iterdir()] == ["model.onnx"]


def test_other_heads_and_the_model_itself_are_refused(toys, failing):
    scores = toys.model("scores.onnx", head="scores")
    assert "puts out scores; export it with --head labels" in failing(
        main, scores, "--source=96x128"
    )
    model = toys.model()
    assert "no name of a new model" in failing(main, model, "--source=96x128", "-o", model)
    main([str(model), "--source=96x128"])
    twice = failing(main, toys.folder / "model.96x128.onnx", "--source=48x48")
    assert "has its preprocessing inside; give the file it was made from" in twice


def test_a_graph_of_another_form_is_refused(toys, failing):
    model = toys.model()
    proto = onnx.load(model)
    proto.graph.node[-1].CopyFrom(
        onnx.helper.make_node("Cast", ["winners"], ["labels"], to=onnx.TensorProto.UINT8)
    )
    proto.graph.node.insert(0, onnx.helper.make_node("Identity", ["image"], ["same"]))
    proto.graph.node[1].input[0] = "same"
    onnx.save(proto, model)
    assert "does not begin as exported files do" in failing(main, model, "--source=96x128")
