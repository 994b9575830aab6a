from __future__ import annotations

import cv2
import numpy as np
import pytest
from engines import write_engine

from emca.errors import UserError
from runtime import Segmenter
from runtime.infer import main
from segdata.preprocess import read_image, read_label


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "-8")


def test_writes_labels_and_overlay_at_source_size(toys, backend_name, capsys):
    labels = np.repeat(np.repeat(toys.stripes(), 2, 0), 2, 1)  # 96x128: the model's size twice
    first = toys.picture("one/street.png", labels)
    second = toys.picture("two/street.png", toys.stripes(shift=1))
    out = toys.folder / "out"
    main([str(toys.model()), str(first), str(second), "-o", str(out), "--backend", backend_name])
    assert f"2 images labelled on {backend_name}" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        "street-2.labels.png",
        "street-2.overlay.jpg",
        "street.labels.png",
        "street.overlay.jpg",
    ]
    found = read_label(out / "street.labels.png")
    assert found.shape == labels.shape
    assert (found == labels).mean() > 0.97
    np.testing.assert_array_equal(read_label(out / "street-2.labels.png"), toys.stripes(shift=1))
    picture = read_image(out / "street.overlay.jpg")
    assert picture.shape[1] == 128
    assert picture.shape[0] > 96  # the legend stands below
    # an overlay of a class's own colour over itself is that colour
    block = picture[30:42, 30:42].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(block, toys.palette[labels[36, 36]], atol=25)


@pytest.mark.parametrize("head", ["scores", "masks"])
def test_other_heads_work_too(toys, head):
    image = toys.picture("a.png", toys.stripes())
    main([str(toys.model(head=head)), str(image), "-o", str(toys.folder / "out")])
    found = read_label(toys.folder / "out" / "a.labels.png")
    assert (found == toys.stripes()).mean() > 0.8


def test_bad_input_is_one_line_and_leaves_files_alone(toys, failing):
    model, image = toys.model(), toys.picture("a.png", toys.stripes())
    out = toys.folder / "out"
    main([str(model), str(image), "-o", str(out)])
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    broken = toys.folder / "a.jpg"
    broken.write_bytes(cv2.imencode(".jpg", np.zeros((64, 64, 3)))[1].tobytes()[:200])
    assert "a.jpg" in failing(main, model, broken, "-o", out)
    assert "gone.jpg: no such image" in failing(main, model, toys.folder / "gone.jpg", "-o", out)
    empty = toys.folder / "empty"
    empty.mkdir()
    assert "empty: no image or video in this folder" in failing(main, model, empty, "-o", out)
    assert "gone.onnx: cannot read" in failing(main, toys.folder / "gone.onnx", image, "-o", out)
    assert "a.png is a file; give a folder" in failing(main, model, image, "-o", image)
    engine = write_engine(toys.folder).path
    said = failing(main, engine, image, "-o", out, "--backend=openvino")
    assert "is an engine for tensorrt; leave --backend=openvino out" in said
    engine.with_name("model.engine.json").unlink()
    assert "model.engine.json is missing" in failing(main, engine, image, "-o", out)
    assert "a.png" in failing(main, model, image, "-o", image / "below")
    assert 'did you mean "--backend"?' in failing(main, model, image, "-o", out, "--backnd=auto")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_damaged_image_does_not_stop_the_others(toys, failing):
    folder = toys.folder / "in"
    for index in range(5):
        toys.picture(f"in/{index}.png", toys.stripes(shift=index))
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:100])
    (folder / "4.png").write_bytes(b"")
    out = toys.folder / "out"
    said = failing(main, toys.model(), folder, "-o", out)
    assert said.startswith("error: 2 of 5 sources could not be labelled whole: ")
    assert f"{folder}/2.png: not a readable image" in said
    assert f"{folder}/4.png" in said
    assert sorted(path.name for path in out.iterdir()) == [
        f"{index}.{kind}" for index in (0, 1, 3) for kind in ("labels.png", "overlay.jpg")
    ]
    for index in (0, 1, 3):
        np.testing.assert_array_equal(
            read_label(out / f"{index}.labels.png"), toys.stripes(shift=index)
        )


def test_tiles_are_those_of_the_segmenter(toys):
    image = toys.picture("a.png", toys.stripes((100, 150)))
    out, model = toys.folder / "out", toys.model()
    main([str(model), str(image), "-o", str(out), "--tile=48x64", "--overlap=8"])
    expected = Segmenter(model, tile=(48, 64), overlap=8)(image)
    np.testing.assert_array_equal(read_label(out / "a.labels.png"), expected)
    assert (expected == toys.stripes((100, 150))).all()


def test_bad_options_are_one_line(toys, failing):
    model, image, out = toys.model(), toys.picture("a.png", toys.stripes()), toys.folder / "out"

    def said(*words):
        return failing(main, model, *words, "-o", out)

    assert "--tile 48: write HEIGHTxWIDTH" in said(image, "--tile=48")
    assert "overlap of 48 does not go" in said(image, "--tile=48x64", "--overlap=48")
    assert "overlap of 8 needs tiles" in said(image, "--overlap=8")
    assert "to the model's 48x64; take 6x8 or more" in said(image, "--tile=5x64")
    assert "--max-frames=0 leaves no frame" in said(image, "--max-frames=0")
    assert "--duration=-1 is no time" in said(image, "--duration=-1")
    assert "--duration=nan is no time" in said(image, "--duration=nan")
    assert "--reconnect=-1 is no number" in said(image, "--reconnect=-1")
    assert "camera 97: cannot open it" in said("97")
    assert "no stream there" in said("rtsp://127.0.0.1:9/a")
    assert "is no address" in said("rtsp://[::1/a")
    assert 'did you mean "rtsp"' in said("rstp://127.0.0.1:9/a")
    assert "97 has no end" in said("97", image)
    assert "2 of 2 sources" in said("http://127.0.0.1:9/a.mp4", "http://127.0.0.1:9/b.mp4")
    assert not out.exists()


def test_one_image_is_one_image(toys, capsys):
    main([str(toys.model()), str(toys.picture("a.png", toys.stripes())), "-o", str(toys.folder)])
    assert capsys.readouterr().out.startswith("1 image labelled on ")
    empty = toys.folder / "empty.png"
    empty.touch()
    with pytest.raises(UserError):
        main([str(toys.model()), str(empty), "-o", str(toys.folder / "out")])
    assert capsys.readouterr().out == ""
