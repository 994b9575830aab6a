import numpy as np
import torch
from torch import nn

from segdata.datasets import open_dataset
from train.evaluate import evaluate, predict_labels
from train.models.decoder import Predictions
from train.models.mask2former import Mask2Former
from train.models.network import Network


class MaskNetwork(Network):
    """Scores as every mask classifier has them; what it predicts is up to the test."""

    class_scores = Mask2Former.class_scores


class Oracle(MaskNetwork):
    """Answers with labels looked up by the first pixel of an image."""

    def __init__(self, answers: dict[bytes, np.ndarray], classes: int) -> None:
        super().__init__()
        self.answers, self.classes = answers, classes
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> Predictions:
        labels = torch.stack(
            [torch.from_numpy(self.answers[i.permute(1, 2, 0).numpy().tobytes()]) for i in images]
        ).long()
        masks = torch.nn.functional.one_hot(labels, self.classes).permute(0, 3, 1, 2)
        classes = 40 * torch.eye(self.classes, self.classes + 1).expand(len(images), -1, -1)
        return Predictions(classes[None], (40.0 * masks - 20)[None])


def test_a_perfect_model_scores_one_and_shares_add_up():
    dataset = open_dataset("scenes:n=6,size=64x96:val")
    samples = [dataset[i] for i in range(len(dataset))]
    model = Oracle({s.image.tobytes(): s.label for s in samples}, len(dataset.taxonomy.classes))
    matrix = evaluate(model, dataset, (64, 96))
    labelled = sum((s.label != 255).sum() for s in samples)
    assert matrix.matrix.sum() == labelled
    assert matrix.miou == 1.0
    parts = [evaluate(model, dataset, (64, 96), process=i, processes=2) for i in range(2)]
    np.testing.assert_array_equal(sum(part.matrix for part in parts), matrix.matrix)


def test_labels_come_from_upsampled_scores():
    class Half(MaskNetwork):
        def forward(self, images):
            masks = torch.full((1, len(images), 2, 2, 2), -8.0)
            masks[:, :, 0, :, 0] = masks[:, :, 1, :, 1] = 8.0
            return Predictions(20 * torch.eye(2, 3).expand(1, len(images), -1, -1), masks)

    labels = predict_labels(Half(), torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    assert labels.dtype == torch.uint8
    expected = np.zeros((8, 8))
    expected[:, 4:] = 1
    np.testing.assert_array_equal(labels[0], expected)
