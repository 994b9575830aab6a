from pathlib import Path

import cv2
import numpy as np
import pytest
from engines import write_engine

from runtime.infer import find_images, main, output_names
from segdata.errors import UserError
from segdata.preprocess import read_image, read_label


def test_files_folders_and_globs_each_once(toys):
    for name in ("a/1.png", "a/b/2.png", "a/3.png", "c.png"):
        toys.picture(name, toys.stripes())
    (toys.folder / "a" / "notes.txt").touch()
    folder, single = toys.folder / "a", toys.folder / "c.png"
    found = find_images([str(single), str(folder), f"{toys.folder}/*.png", f"{folder}/**/2*"])
    names = [path.relative_to(toys.folder).as_posix() for path in found]
    assert names == ["c.png", "a/1.png", "a/3.png", "a/b/2.png"]


def test_results_of_an_earlier_run_are_no_input(toys):
    toys.picture("a.png", toys.stripes())
    main([str(toys.model()), str(toys.folder), "-o", str(toys.folder)])
    assert [path.name for path in find_images([str(toys.folder)])] == ["a.png"]


@pytest.mark.parametrize(("pattern", "message"), [("gone.png", "no such"), ("*.gif", "no such")])
def test_missing_images_are_named(toys, pattern, message):
    with pytest.raises(UserError, match=message) as error:
        find_images([str(toys.folder / pattern)])
    assert pattern in str(error.value)


def test_output_names_never_repeat():
    paths = [Path(p) for p in ("a/x.png", "b/x.jpg", "x-2.png", "y.png", "c/x.png")]
    assert output_names(paths) == ["x", "x-2", "x-2-2", "y", "x-3"]


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
    assert "empty: no image in this folder" in failing(main, model, empty, "-o", out)
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
