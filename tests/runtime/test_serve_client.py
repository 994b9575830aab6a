import threading

import numpy as np
import pytest
from kserve import serving, serving_grpc

from emca.errors import UserError
from runtime.backends import load
from runtime.evaluate import predict
from runtime.serve_client import main
from runtime.serve_repository import main as serve
from runtime.serving.client import ServedModel
from segdata.preprocess import read_image, read_label

pytest.importorskip("tritonclient.http")
grpc = pytest.importorskip("tritonclient.grpc")
json_format = pytest.importorskip("google.protobuf.json_format")
text_format = pytest.importorskip("google.protobuf.text_format")


@pytest.fixture
def server(toys):
    """The stand-in with a model of a fixed batch and one of any."""
    repo = toys.folder / "repo"
    models = [toys.model("fixed.onnx", batch=2), toys.model("open.onnx", batch="N")]
    serve([*map(str, models), "-o", str(repo)])
    configs = {
        name: json_format.MessageToDict(read(repo, name), preserving_proto_field_name=True)
        for name in ("fixed", "open")
    }
    with serving(repo, configs) as server:
        yield server


def read(repo, name):
    """The configuration of a model as the server's own message."""
    text = (repo / name / "config.pbtxt").read_text()
    return text_format.Parse(text, grpc.model_config_pb2.ModelConfig())


@pytest.mark.parametrize("name", ["fixed", "open"])
def test_labels_are_those_of_predict(toys, server, name, capsys):
    sizes = {"same": toys.size, "larger": (96, 200), "smaller": (20, 31)}
    for stem, size in sizes.items():
        toys.picture(f"in/{stem}.png", toys.stripes(size))
    out = toys.folder / "out"
    main([server.url, name, str(toys.folder / "in"), "-o", str(out)])
    assert f"3 images labelled by {name} at {server.url} over http" in capsys.readouterr().out
    backend = load(toys.folder / f"{name}.onnx", "onnxruntime")
    for stem, size in sizes.items():
        want = predict(backend, read_image(toys.folder / "in" / f"{stem}.png"))
        found = read_label(out / f"{stem}.labels.png")
        assert found.shape == size
        np.testing.assert_array_equal(found, want)
        assert read_image(out / f"{stem}.overlay.jpg").shape[1] == size[1]
    assert len(np.unique(found)) > 1


def test_grpc_gives_the_same(toys, server, failing):
    image = toys.picture("a.png", toys.stripes((96, 200)))
    messages = {name: read(toys.folder / "repo", name) for name in ("fixed", "open")}
    with serving_grpc(server, messages) as url:
        main([url, "fixed", str(image), "-o", str(toys.folder), "--grpc"])
        said = failing(main, url, "opn", image, "-o", toys.folder, "--grpc")
        assert "model opn: Request for unknown model" in said
    want = predict(load(toys.folder / "fixed.onnx", "onnxruntime"), read_image(image))
    np.testing.assert_array_equal(read_label(toys.folder / "a.labels.png"), want)


def test_requests_travel_together(toys, server):
    for index in range(6):
        toys.picture(f"in/{index}.png", toys.stripes(shift=index))
    server.together = threading.Barrier(3)  # none is answered before three have arrived
    main([server.url, "open", str(toys.folder / "in"), "-o", str(toys.folder), "--in-flight=3"])
    assert (server.requests, server.most) == (6, 3)


def test_the_model_says_what_it_labels(toys, server):
    model = ServedModel(server.url, "open")
    assert model.classes == toys.classes
    assert model.palette == toys.palette
    assert model.input_size == toys.size
    np.testing.assert_array_equal(model(toys.paint(toys.stripes())), toys.stripes())
    model.close()


def test_a_damaged_image_is_left_out_and_said(toys, server, failing):
    toys.picture("in/good.png", toys.stripes())
    (toys.folder / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = toys.folder / "out"
    said = failing(main, server.url, "open", toys.folder / "in", "-o", out)
    assert "1 of 2 sources left out" in said
    assert "bad.png" in said
    assert sorted(path.name for path in out.iterdir()) == ["good.labels.png", "good.overlay.jpg"]


def test_bad_input_is_one_line(toys, server, failing):
    image, out = toys.picture("a.png", toys.stripes()), ("-o", toys.folder / "out")
    url = server.url
    assert "Request for unknown model: 'opn'" in failing(main, url, "opn", image, *out)
    assert "is no HOST:PORT; leave out http://" in failing(
        main, f"http://{url}", "open", image, *out
    )
    assert "ports go from 1 to 65535" in failing(main, "127.0.0.1:99999", "open", image, *out)
    assert "--in-flight=0" in failing(main, url, "open", image, *out, "--in-flight=0")
    assert "gone.png" in failing(main, url, "open", toys.folder / "gone.png", *out)
    assert "a.png is a file; give a folder" in failing(main, url, "open", image, "-o", image)
    video = toys.folder / "a.mp4"
    video.touch()
    assert "a.mp4 is no image file" in failing(main, url, "open", video, *out)
    for option, port in ((), 8000), (("--grpc",), 8001):
        said = failing(main, "127.0.0.1:9", "open", image, *out, *option)
        assert "127.0.0.1:9: no Triton server answers over" in said
        assert f":{port}" in said
    server.configs["open"]["parameters"].clear()
    assert "does not say what it labels" in failing(main, url, "open", image, *out)


def test_an_answer_of_another_size_is_refused(toys, server):
    model = ServedModel(server.url, "open")
    server.backends["open"] = Cropping(server.backends["open"])
    with pytest.raises(UserError, match="answered without labels of the image"):
        model(toys.paint(toys.stripes()))
    model.close()


class Cropping:
    """A model that loses the last row."""

    def __init__(self, inner):
        self.inner = inner

    def infer(self, images):
        return {"labels": np.ascontiguousarray(self.inner.infer(images)["labels"][:, :-1])}
