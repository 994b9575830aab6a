import dataclasses

import numpy as np
import pytest

from calibration.int8 import to_int8
from calibration.study.accuracy import Judge
from emca.errors import UserError
from runtime.backends.base import ModelFile
from runtime.evaluate import predict
from segdata.datasets import open_dataset
from segdata.metrics import ConfusionMatrix


@pytest.fixture
def model(file):
    return ModelFile.read(file)


@pytest.fixture(scope="module")
def samples():
    dataset = open_dataset("scenes:n=3,size=80x110:val")
    return [dataset[index] for index in range(3)]


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_scores_are_those_of_the_labels(model, samples, scenes, backend):
    judge = Judge(model, samples, backend=backend)
    assert judge.backend == backend
    assert judge.reference.agreement == 1
    loaded = judge.load(to_int8(model.proto, scenes[:2]))
    reference = judge.load(model.proto)
    matrix, same = ConfusionMatrix(len(model.card.classes)), []
    for sample in samples:
        ours = predict(loaded, sample.image)
        matrix.update(sample.label, ours)
        same.append((ours == predict(reference, sample.image)).mean())
    score = judge.score(loaded)
    assert score.miou == matrix.miou
    assert score.iou == matrix.to_dict()["iou"]
    assert score.agreement == pytest.approx(np.mean(same))
    assert 0.8 < score.agreement < 1


def test_only_cpu_backends_judge(model, samples):
    with pytest.raises(UserError, match='no backend "openvin"'):
        Judge(model, samples, backend="openvin")


def test_labels_are_needed(model, samples):
    bare = [dataclasses.replace(samples[0], label=None)]
    with pytest.raises(UserError, match="has no label to judge by"):
        Judge(model, bare, backend="onnxruntime")


def test_labels_that_count_nowhere_are_refused(model, samples):
    empty = dataclasses.replace(samples[0], label=np.full_like(samples[0].label, 255))
    with pytest.raises(UserError, match="no pixel of the 1 images to judge by counts"):
        Judge(model, [empty], backend="onnxruntime")
