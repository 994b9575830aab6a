from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from engines import write_engine

import runtime
from emca.errors import UserError
from runtime.backends import load
from runtime.evaluate import predict
from runtime.segment.tiles import Tiling, predict_tiled
from segdata.preprocess import restore


def test_an_image_and_its_file_give_the_labels_of_predict(toys, backend_name):
    labels = np.repeat(np.repeat(toys.stripes(), 2, 0), 2, 1)
    path = toys.picture("a.png", labels)
    model = toys.model()
    with runtime.Segmenter(model, backend=backend_name) as segmenter:
        assert segmenter.classes == toys.classes
        assert segmenter.palette == toys.palette
        assert segmenter.input_size == toys.size
        assert segmenter.backend == backend_name
        found = segmenter(path)
        np.testing.assert_array_equal(segmenter(str(path)), found)
        np.testing.assert_array_equal(segmenter(toys.paint(labels)), found)
    np.testing.assert_array_equal(found, predict(load(model, backend_name), toys.paint(labels)))
    assert found.dtype == np.uint8
    assert (found == labels).mean() > 0.97


def test_tiles_are_those_of_predict_tiled(toys):
    image = toys.paint(toys.stripes((100, 150)))
    model = toys.model()
    segmenter = runtime.Segmenter(str(model), tile=(48, 64), overlap=16)
    expected = predict_tiled(load(model), image, Tiling((48, 64), 16))
    np.testing.assert_array_equal(segmenter(image), expected)
    assert (expected == toys.stripes((100, 150))).all()


@pytest.mark.parametrize("tile", [None, (48, 64)])
@pytest.mark.parametrize("size", [(48, 64), (100, 150), (31, 77)])
def test_labelling_can_be_done_in_three_steps(toys, tile, size):
    image = toys.paint(toys.stripes(size))
    segmenter = runtime.Segmenter(toys.model(), tile=tile)
    found = restore(segmenter(segmenter.fit(image)), size)
    np.testing.assert_array_equal(found, segmenter(image))
    assert (segmenter.fit(image).shape[:2] == segmenter.input_size) == (not tile or size == tile)


def test_views_of_arrays_are_taken(toys):
    image = toys.paint(toys.stripes())
    segmenter = runtime.Segmenter(toys.model())
    flipped = segmenter(image[:, ::-1])
    np.testing.assert_array_equal(flipped, toys.stripes()[:, ::-1])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), r"got float32 \[4, 5, 3\]; convert it"),
        (np.zeros((4, 5), np.uint8), r"got uint8 \[4, 5\]"),
        (np.zeros((4, 5, 4), np.uint8), r"got uint8 \[4, 5, 4\]"),
        (np.zeros((0, 5, 3), np.uint8), r"got uint8 \[0, 5, 3\]"),
        ([[1]], "not list"),
        ("gone.png", "gone.png: no such file"),
    ],
)
def test_what_is_no_image_is_named(toys, image, message):
    segmenter = runtime.Segmenter(toys.model())
    with pytest.raises(UserError, match=message):
        segmenter(image)


def test_a_closed_one_says_so(toys):
    with runtime.Segmenter(toys.model()) as segmenter:
        segmenter.close()
        with pytest.raises(UserError, match="closed; make another"):
            segmenter(toys.stripes())
        with pytest.raises(UserError, match="closed; make another"):
            segmenter.submit(toys.stripes())


@pytest.mark.parametrize("streams", [0, 1, 3])
def test_several_at_once_give_the_labels_of_one_by_one(toys, backend_name, streams):
    images = [toys.paint(np.roll(toys.stripes(), 3 * k, axis=1)) for k in range(12)]
    single = runtime.Segmenter(toys.model(), backend=backend_name)
    with runtime.Segmenter(toys.model(), backend=backend_name, streams=streams) as segmenter:
        submitted = [segmenter.submit(image) for image in images]
    for image, labels in zip(images, submitted, strict=True):
        np.testing.assert_array_equal(labels.result(), single(image))


@pytest.mark.parametrize("streams", [1, 2])
def test_what_is_wrong_with_one_of_several_is_said_by_its_result(toys, streams):
    with runtime.Segmenter(toys.model(), streams=streams) as segmenter:
        wrong, right = segmenter.submit("gone.png"), segmenter.submit(toys.paint(toys.stripes()))
        with pytest.raises(UserError, match=r"gone\.png"):
            wrong.result()
        np.testing.assert_array_equal(right.result(), toys.stripes())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 5}, "overlap of 5 needs tiles"),
        ({"tile": (8, 8), "overlap": 8}, "take 0 to 7"),
        ({"threads": -1}, "-1 threads"),
        ({"streams": -1}, "-1 streams"),
        ({"backend": "openvno"}, 'did you mean "openvino"'),
    ],
)
def test_options_that_make_no_sense_are_named(toys, options, message):
    with pytest.raises(UserError, match=message):
        runtime.Segmenter(toys.model(), **options)


def test_an_engine_without_its_runtime_is_named(toys):
    engine = write_engine(toys.folder).path
    with pytest.raises(UserError, match=r"tensorrt|TensorRT"):
        runtime.Segmenter(engine)


def test_importing_runtime_imports_nothing_else():
    code = (
        "import sys, runtime; assert not {'cv2', 'numpy', 'onnx'} & set(sys.modules); "
        "assert runtime.Segmenter.__name__ == 'Segmenter'; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    with pytest.raises(AttributeError, match="Segmentr"):
        _ = runtime.Segmentr  # type: ignore[attr-defined]
