from pathlib import Path

import numpy as np
import pytest
from engines import SIZE, profile, write_engine

from runtime.accuracy.batches import IMAGES, check_batches, labels_of
from runtime.backends import load
from segdata.datasets import open_dataset


class Labeller:
    """Labels by brightness; from `wrong` on, each image of a batch gets the labels of the first."""

    name = "onnxruntime"

    def __init__(self, batch=None, *, wrong=99, size=SIZE, path=Path("model.onnx")):
        self.input_shape, self.wrong, self.path = (batch, *size, 3), wrong, path
        self.least_batch = batch or 1
        self.shapes = []

    def infer(self, images):
        assert images.shape[0] == (self.input_shape[0] or images.shape[0])
        self.shapes.append(images.shape[0])
        labels = images.mean(axis=3).astype(np.uint8)
        labels[self.wrong :] = labels[0]
        return {"labels": labels}


@pytest.fixture
def scenes():
    return open_dataset("scenes:n=20,size=32x48:val")


def test_a_right_backend_is_the_same_at_every_batch(scenes):
    backend = Labeller()
    check = check_batches(backend, scenes, 20, (1, 2, 4, 5))
    assert [(b.size, b.agreement, b.worst) for b in check.batches] == [
        (2, 1, 1),
        (4, 1, 1),
        (5, 1, 1),
    ]
    assert (check.agreement, check.images, check.fixed) == (1, IMAGES, None)
    assert check.text == "batch 2, 4, 5 against batch 1"
    assert set(backend.shapes) == {1, 2, 4, 5}


def test_a_wrong_place_in_the_batch_is_found(scenes):
    check = check_batches(Labeller(wrong=3), scenes, 20, (2, 4))
    two, four = check.batches
    assert (two.agreement, two.worst) == (1, 1)
    # Every fourth image is labelled as another one, which it is hardly ever like.
    assert 0.75 <= four.agreement < 0.8
    assert four.worst < 0.2
    assert check.agreement == four.agreement


def test_few_images_fill_a_batch_again_and_again(scenes):
    backend = Labeller(wrong=2)
    check = check_batches(backend, scenes, 3, (4,))
    assert check.images == 3
    assert backend.shapes == [1, 1, 1, 4]
    assert check.agreement < 0.8


def test_a_file_of_batch_one_is_not_run(scenes):
    backend = Labeller(1)
    check = check_batches(backend, scenes, 20, (1, 2, 4))
    assert (check.text, check.agreement, check.batches) == ("batch 1 only", None, ())
    assert backend.shapes == []


def test_a_fixed_batch_runs_at_its_own_size(scenes):
    backend = Labeller(3)
    check = check_batches(backend, scenes, 20, (1, 2))
    assert (check.text, check.agreement, check.fixed) == ("fixed batch 3", 1, 3)
    assert set(backend.shapes) == {3}
    assert check_batches(Labeller(3, wrong=2), scenes, 20, (1, 2)).agreement < 0.8


def test_no_batch_asked_for(scenes):
    check = check_batches(Labeller(), scenes, 20, (1,))
    assert (check.text, check.agreement) == ("no batch above 1", None)


def test_an_engine_runs_what_its_profiles_allow(scenes, tmp_path):
    engine = write_engine(tmp_path, profiles=(profile(1, 1, 2), profile(4, 4, 4)))
    backend = Labeller(path=engine.path)
    check = check_batches(backend, scenes, 20, (2, 3, 4, 8))
    assert [(b.size, b.agreement) for b in check.batches] == [(2, 1), (3, None), (4, 1), (8, None)]
    assert check.text == "batch 2, 4 against batch 1; its profiles lack batch 3, 8"
    assert set(backend.shapes) == {1, 2, 4}
    none = check_batches(backend, scenes, 20, (8,))
    assert (none.text, none.agreement) == ("no batch above 1; its profiles lack batch 8", None)


def test_models_with_an_open_batch(toys, backend_name):
    backend = load(toys.model(batch="n"), backend_name)
    check = check_batches(backend, open_dataset(toys.data()), 3, (1, 2, 4))
    assert (check.agreement, check.images) == (1, 3)
    images = np.stack([toys.paint(toys.stripes(shift=k)) for k in range(3)])
    expected = np.stack([toys.stripes(shift=k) for k in range(3)])
    np.testing.assert_array_equal(labels_of(backend, images), expected)
