import numpy as np
import pytest
from engines import write_engine

from emca.errors import UserError
from emca.files import sha256
from runtime.accuracy.labelling import (
    GAINED,
    LOST,
    OTHER,
    check_files,
    differences,
    legend,
    measure,
    notes,
    worst_images,
)
from runtime.backends import load
from runtime.evaluate import compare
from segdata.datasets import open_dataset


def opened(path):
    return load(path, "onnxruntime")


@pytest.fixture
def pair(toys):
    """A reference and one whose colours are off, so that it labels some blocks otherwise."""
    model = toys.model()
    return opened(model), opened(toys.derived(model, "int8", noise=150))


def test_counts_are_those_of_the_evaluation(toys, pair):
    data = open_dataset(toys.data(change=lambda labels: np.where(labels == 3, 255, labels)))
    reference, candidate = measure(pair[0], [pair[1]], data, 3, 2)
    expected = compare({"a": pair[0], "b": pair[1]}, data)
    assert reference.miou == expected["a"].matrix.miou
    assert candidate.miou == expected["b"].matrix.miou
    np.testing.assert_array_equal(candidate.iou, expected["b"].matrix.iou)
    share = candidate.equal.sum() / candidate.pixels.sum()
    assert share == expected["b"].agreement
    assert 0 < share < 1
    assert (reference.equal == reference.pixels).all()
    # A grid of blocks of 12 pixels, of which the inner 8 by 8 are not near a border.
    assert (reference.near < reference.pixels).all()
    assert (reference.near > reference.pixels * 0.4).all()
    assert len(measure(pair[0], [], data, 2, 2)[0].pixels) == 2


def test_data_whose_truth_is_empty_are_refused(toys, pair):
    data = open_dataset(toys.data(change=lambda labels: np.full_like(labels, 255)))
    with pytest.raises(UserError, match=r"no pixel has a label; take --unlabelled"):
        measure(pair[0], [pair[1]], data, 3, 2)


def test_files_of_other_tasks_or_classes_are_refused(toys, pair):
    other = opened(toys.model("o.onnx", card={"classes": ("sky", "road", "bus", "tree")}))
    with pytest.raises(UserError, match=r'o\.onnx calls class 2 "bus" and not "car" as .*model'):
        check_files(pair[0], [pair[1], other], None)
    three = {"classes": toys.classes[:3], "palette": toys.palette[:3]}
    fewer = opened(toys.model("f.onnx", **three, card=three))
    with pytest.raises(UserError, match=r"f\.onnx has 3 classes and not 4 as .*model\.onnx"):
        check_files(pair[0], [fewer], None)
    depth = opened(toys.model("d.onnx", card={"task": "panoptic"}))
    with pytest.raises(UserError, match=r"d\.onnx is a model for panoptic segmentation"):
        check_files(pair[0], [depth], None)
    with pytest.raises(UserError, match="has 9 classes"):
        check_files(pair[0], [pair[1]], open_dataset("scenes:n=1,size=32x48:val"))


def said(reference, candidate, data="folder:x", names=("a", "b"), labelled=True):
    return " ".join(
        notes(
            *(reference, candidate, data, names),
            labelled=labelled,
            reference_sha256=sha256(reference.path),
        )
    )


def test_notes_tell_what_is_odd_about_the_files(toys, pair):
    assert said(*pair, names=[str(k) for k in range(30)]) == ""
    assert "2 images are few" in said(*pair)
    assert "Without labels nothing is said of mIoU" in said(*pair, labelled=False)
    other = {"source_sha256": "ef" * 32, "precision": "fp16"}
    stranger = opened(toys.model("s.onnx", card=other, size=(24, 32)))
    text = said(pair[0], stranger)
    assert "s.onnx says that it was made from another file (efefefefefefefef…)" in text
    assert "The inputs differ, 64x48 and 32x24" in text
    untrained = opened(toys.model("u.onnx", card={"trained_iterations": 0}))
    assert "never trained" in said(pair[0], untrained)
    elsewhere = load(pair[1].path, "openvino")
    assert "ran on onnxruntime, the candidate on openvino" in said(pair[0], elsewhere)


def test_notes_tell_which_images_also_calibrated(toys, pair):
    how = {"method": "minmax", "data": "folder:x:val", "images": ["b", "c"]}
    own = opened(toys.model("c.onnx", card={"precision": "int8", "calibration": how}))
    assert "INT8 ranges: minmax over 2 images of folder:x:val." in said(pair[0], own)
    assert "1 of these images also set its INT8 ranges" in said(pair[0], own, "folder:x:val")
    assert "also set" not in said(pair[0], own, "folder:y:val")
    assert "also set" not in said(pair[0], own, "folder:x", names=["a"])


def test_an_fp32_engine_goes_back_to_the_file_it_was_built_from(toys, pair):
    right = sha256(pair[0].path)
    card = pair[0].card
    for fingerprint, odd in ((right, False), ("0" * 64, True)):
        engine = write_engine(toys.folder, card=card, onnx_sha256=fingerprint)
        candidate = opened(pair[0].path)
        candidate.path = engine.path
        assert ("made from another file" in said(pair[0], candidate)) == odd


def test_differences_say_who_is_right():
    image = np.full((2, 4, 3), 100, np.uint8)
    truth = np.array([[0, 0, 0, 255]] * 2, np.uint8)
    reference = np.array([[0, 0, 1, 1]] * 2, np.uint8)
    candidate = np.array([[0, 1, 0, 2]] * 2, np.uint8)
    picture = differences(image, truth, reference, candidate)
    assert picture[0, 0].tolist() == [200, 200, 200]
    assert [tuple(p) for p in picture[1, 1:].tolist()] == [LOST, GAINED, OTHER]
    blind = differences(image, None, reference, candidate)
    assert [tuple(p) for p in blind[0, 1:].tolist()] == [OTHER] * 3
    assert [colour for _, colour in legend(True)] == [LOST, GAINED, OTHER]
    assert [colour for _, colour in legend(False)] == [OTHER]


def test_worst_images_come_first_and_equal_ones_not_at_all(toys, pair):
    data = open_dataset(toys.data())
    reference, candidate = measure(pair[0], [pair[1]], data, 3, 2)
    panels, present = worst_images(*pair, data, candidate, 2)
    shares = sorted(candidate.agreement)
    assert [p.pictures[-1].note for p in panels] == [
        f"{100 * share:.2f} % the same" for share in shares[:2]
    ]
    captions = [picture.caption for picture in panels[0].pictures]
    assert captions == ["image", "truth", "reference", "candidate", "difference"]
    assert present == [0, 1, 2, 3]
    assert worst_images(pair[0], pair[0], data, reference, 2) == ([], [])
    bare = open_dataset(toys.data(), labels=False)
    panels, _ = worst_images(*pair, bare, candidate, 1)
    captions = [picture.caption for picture in panels[0].pictures]
    assert captions == ["image", "reference", "candidate", "difference"]
