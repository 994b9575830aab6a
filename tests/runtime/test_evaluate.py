import json

import numpy as np
import pytest
from engines import write_engine

from emca.errors import UserError
from runtime.backends import load
from runtime.evaluate import compare, evaluate, main, predict, to_labels
from segdata.datasets import open_dataset


def test_predict_gives_labels_at_source_size(toys, backend_name):
    backend = load(toys.model(), backend_name)
    labels = np.zeros((60, 50), np.uint8)  # portrait: letterboxed on the right
    labels[:30, 25:], labels[30:, :25], labels[30:, 25:] = 1, 2, 3
    result = predict(backend, toys.paint(labels))
    assert result.shape == (60, 50)
    assert result.dtype == np.uint8
    assert (result == labels).mean() > 0.95


def test_predict_runs_models_of_a_fixed_batch(toys):
    backend = load(toys.model(batch=2), "onnxruntime")
    np.testing.assert_array_equal(predict(backend, toys.paint(toys.stripes())), toys.stripes())


@pytest.mark.parametrize("head", ["scores", "masks"])
def test_other_heads_give_the_same_labels(toys, head, backend_name):
    backend = load(toys.model(head=head), backend_name)
    labels = toys.stripes()
    result = predict(backend, toys.paint(labels))
    inner = np.zeros(labels.shape, bool)  # away from borders, which stride 4 cannot place exactly
    for y in range(0, 48, 12):
        for x in range(0, 64, 12):
            inner[y + 4 : y + 8, x + 4 : x + 8] = True
    np.testing.assert_array_equal(result[inner], labels[inner])


def test_scores_are_resized_before_the_argmax():
    scores = np.zeros((3, 1, 2), np.float32)
    scores[0, 0], scores[2, 0] = (9, 0), (0, 1)
    # Resized to 8 pixels class 0 stays ahead until the weight of the right cell passes 0.9.
    labels = to_labels({"scores": scores}, (1, 8))
    assert labels.tolist() == [[0, 0, 0, 0, 0, 0, 2, 2]]


def test_ties_go_to_the_first_class():
    scores = np.full((4, 2, 2), -7.0, np.float32)
    assert not to_labels({"scores": scores}, (4, 4)).any()


def test_masks_weigh_classes_by_queries_and_ignore_no_object():
    big = 50.0
    masks = np.full((3, 2, 2), -1000.0, np.float32)  # overflows a naive sigmoid
    masks[0, :, 0] = masks[1, :, 1] = masks[2] = 1000
    logits = np.array([[0, big, 0], [big, 0, 0], [0, 0, big]], np.float32)
    labels = to_labels({"class_logits": logits, "mask_logits": masks}, (2, 2))
    assert labels.tolist() == [[1, 0], [1, 0]]


def test_evaluate_scores_what_was_painted(toys):
    backend = load(toys.model(), "onnxruntime")
    dataset = open_dataset(toys.data())
    matrix = evaluate(backend, dataset)
    assert (matrix.miou, matrix.pixel_accuracy) == (1, 1)
    assert matrix.matrix.sum() == 3 * 48 * 64
    assert evaluate(backend, dataset, limit=2).matrix.sum() == 2 * 48 * 64


def swap(labels):
    """A truth in which every second tree is a car and some pixels are not to be counted."""
    changed = labels.copy()
    changed[:, ::2][labels[:, ::2] == 3] = 2
    changed[0, :5] = 255
    return changed


def test_evaluate_counts_mistakes(toys):
    matrix = evaluate(load(toys.model(), "onnxruntime"), open_dataset(toys.data(change=swap)))
    assert matrix.matrix.sum() == 3 * (48 * 64 - 5)
    assert matrix.matrix[2, 3] > 0
    tree = matrix.matrix[3, 3] / (matrix.matrix[3, 3] + matrix.matrix[2, 3])
    assert matrix.iou[3] == pytest.approx(tree)
    assert matrix.iou[3] == pytest.approx(0.5, abs=0.02)
    assert list(matrix.iou[:2]) == [1, 1]


def test_compare_takes_the_first_model_as_reference(toys):
    other = toys.model("other.onnx", palette=tuple(reversed(toys.palette)))
    backends = {"a": load(toys.model(), "onnxruntime"), "b": load(other, "onnxruntime")}
    result = compare(backends, open_dataset(toys.data()))
    assert result["a"].agreement == 1
    assert result["b"].agreement == 0  # label k became 3 - k, which no label maps to itself
    assert (result["a"].matrix.miou, result["b"].matrix.miou) == (1, 0)


def test_other_classes_are_refused_with_both_names(toys):
    data = open_dataset(toys.data())
    three = toys.model(classes=toys.classes[:3], palette=toys.palette[:3], card=three_card(toys))
    with pytest.raises(UserError) as error:
        evaluate(load(three, "onnxruntime"), data)
    assert "has 4 classes (sky, road, car, …)" in str(error.value)
    assert "model.onnx has 3 (sky, road, car)" in str(error.value)
    renamed = toys.model(card={"classes": ("sky", "road", "bus", "tree")})
    with pytest.raises(
        UserError, match=r'class 2 is "car" in folder:.* and "bus" in .*model\.onnx'
    ):
        evaluate(load(renamed, "onnxruntime"), data)


def three_card(toys):
    return {"classes": toys.classes[:3], "palette": toys.palette[:3]}


def test_data_without_labels_are_refused(toys):
    dataset = open_dataset(toys.data(), labels=False)
    with pytest.raises(UserError, match=r"0\.png of folder:.* has no label"):
        evaluate(load(toys.model(), "onnxruntime"), dataset)


def test_command_prints_the_table_and_writes_json(toys, capsys, backend_name):
    out = toys.folder / "new" / "scores.json"
    words = [str(toys.model()), "--data", toys.data(change=swap), "--backend", backend_name]
    main([*words, "--json", str(out), "--limit=2"])
    text = capsys.readouterr().out
    assert f"(fp32) on {backend_name}" in text
    lines = dict(line.rsplit(maxsplit=1) for line in text.splitlines() if line[-1:].isdigit())
    assert lines["sky"] == "100.00"
    assert float(lines["tree"]) == pytest.approx(50, abs=2)
    written = json.loads(out.read_text())
    assert float(lines["mIoU"]) == pytest.approx(100 * written["miou"], abs=0.01)
    assert written["classes"] == list(toys.classes)
    assert (written["images"], written["backend"]) == (2, backend_name)


def test_command_refuses_bad_input(toys, failing):
    model, data = toys.model(), toys.data()
    assert "gone.onnx: cannot read the model" in failing(main, "gone.onnx", "--data", data)
    assert "--limit=0 leaves no image" in failing(main, model, "--data", data, "--limit=0")
    assert "gone.engine: no such engine" in failing(main, "gone.engine", "--data", data)
    engine = write_engine(toys.folder).path
    said = failing(main, engine, "--data", data, "--backend=openvino")
    assert "is an engine for tensorrt; leave --backend=openvino out" in said
    assert 'did you mean "--data"?' in failing(main, model, "--dta", data)
    assert "gone is not a folder" in failing(main, model, "--data", "folder:gone")
    (toys.folder / "file").touch()
    old = toys.folder / "file" / "x.json"
    assert "file" in failing(main, model, "--data", data, "--json", old)
