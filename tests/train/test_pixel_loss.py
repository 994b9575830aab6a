import math

import pytest
import torch
import torch.nn.functional as F

from train.models.pixel_classifier import PixelPredictions
from train.pixel_loss import PixelLoss, boundaries

CLASSES = 4
SIZE = (24, 36)


def random_labels(batch=2):
    labels = torch.randint(0, CLASSES, (batch, 4, 6)).repeat_interleave(6, 1)
    labels = labels.repeat_interleave(6, 2)
    labels[:, :3, :5] = 255
    return labels.to(torch.uint8)


def random_predictions(batch=2, *, heads=True):
    return PixelPredictions(
        torch.randn(batch, CLASSES, 6, 9, requires_grad=True),
        auxiliary=torch.randn(batch, CLASSES, 3, 5, requires_grad=True) if heads else None,
        boundary=torch.randn(batch, 1, 6, 9, requires_grad=True) if heads else None,
    )


def upsample(logits):
    return F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False)


def test_cross_entropy_at_label_resolution():
    torch.manual_seed(0)
    labels, predictions = random_labels(), random_predictions()
    terms = PixelLoss(auxiliary_weight=0.4)(predictions, labels, [0, 1])
    for name, logits, weight in (
        ("class", predictions.scores, 1),
        ("auxiliary", predictions.auxiliary, 0.4),
    ):
        expected = F.cross_entropy(upsample(logits), labels.long(), ignore_index=255)
        torch.testing.assert_close(terms[name], weight * expected)


def test_terms_follow_the_predictions():
    labels = random_labels()
    assert PixelLoss()(random_predictions(heads=False), labels, [0, 1]).keys() == {"class"}
    assert PixelLoss()(random_predictions(), labels, [0, 1]).keys() == {
        "class",
        "auxiliary",
        "boundary",
        "boundary_class",
    }


@pytest.mark.parametrize("sharpness", [1, 30])
@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_hard_examples(sharpness, threshold):
    """With sharp scores nearly all pixels are easy, and the share decides."""
    torch.manual_seed(1)
    labels = random_labels()
    truth = labels.long().clamp(max=CLASSES - 1)
    scores = torch.randn(2, CLASSES, *SIZE) + sharpness * F.one_hot(truth).permute(0, 3, 1, 2)
    share = 0.1
    loss = PixelLoss(ohem_threshold=threshold, ohem_share=share)
    got = loss(PixelPredictions(scores), labels, [0, 1])["class"]

    losses = F.cross_entropy(scores, truth, reduction="none")[labels != 255].sort(descending=True)
    losses = losses.values
    hard = int((losses > -math.log(threshold)).sum())
    least = round(share * labels.numel())
    assert (hard > least) == (sharpness == 1)
    torch.testing.assert_close(got, losses[: max(hard, least)].mean())


def test_hard_examples_of_few_labelled_pixels():
    labels = torch.full((1, *SIZE), 255)
    labels[0, 0, :5] = 1
    scores = torch.randn(1, CLASSES, *SIZE)
    got = PixelLoss(ohem_threshold=0.9)(PixelPredictions(scores), labels, [0])["class"]
    losses = F.cross_entropy(scores, labels, ignore_index=255, reduction="none")[0, 0, :5]
    hard = losses > -math.log(0.9)
    torch.testing.assert_close(got, losses[hard].mean() if hard.any() else losses.mean())


def test_boundaries_are_four_pixels_wide():
    labels = torch.zeros(2, 9, 12, dtype=torch.uint8)
    labels[0, :, 5:] = 3
    labels[1, 6:] = 2
    expected = torch.zeros(2, 9, 12, dtype=torch.bool)
    expected[0, :, 3:7] = True
    expected[1, 4:8] = True
    assert boundaries(labels).equal(expected)


def test_unlabelled_pixels_make_no_boundary():
    labels = torch.ones(1, 8, 12, dtype=torch.long)
    labels[0, :, 4:7] = 255
    assert not boundaries(labels).any()
    labels[0, :, 7:] = 2  # two classes, but unlabelled pixels between them
    assert not boundaries(labels).any()


def test_boundary_is_class_balanced():
    torch.manual_seed(2)
    labels, predictions = random_labels(), random_predictions()
    got = PixelLoss(boundary_weight=20)(predictions, labels, [0, 1])["boundary"]
    valid = labels != 255
    target = boundaries(labels)[valid].float()
    logits = upsample(predictions.boundary).squeeze(1)[valid]
    share = target.mean()
    assert 0.1 < share < 0.9
    weight = torch.where(target == 1, 1 - share, share)
    expected = F.binary_cross_entropy_with_logits(logits, target, weight)
    torch.testing.assert_close(got, 20 * expected)


def test_classes_count_again_where_the_network_sees_a_boundary():
    torch.manual_seed(3)
    labels = random_labels()
    boundary = torch.full((2, 1, *SIZE), 1.3)  # sigmoid below 0.8
    boundary[:, :, 10:14, 8:] = 1.5  # above
    scores = torch.randn(2, CLASSES, *SIZE)
    got = PixelLoss()(PixelPredictions(scores, boundary=boundary), labels, [0, 1])
    expected = F.cross_entropy(
        scores[:, :, 10:14, 8:], labels[:, 10:14, 8:].long(), ignore_index=255
    )
    torch.testing.assert_close(got["boundary_class"], expected)


@pytest.mark.parametrize("threshold", [None, 0.9])
@pytest.mark.parametrize(
    ("labels", "zero"),
    [
        (torch.full((1, *SIZE), 255), {"class", "auxiliary", "boundary", "boundary_class"}),
        (torch.full((1, *SIZE), 2), {"boundary", "boundary_class"}),
    ],
    ids=["no labels", "no boundary"],
)
def test_finite_without_labels_or_boundary(threshold, labels, zero):
    torch.manual_seed(4)
    predictions = random_predictions(1)
    predictions = predictions._replace(boundary=predictions.boundary - 20)
    predictions.boundary.retain_grad()
    terms = PixelLoss(ohem_threshold=threshold)(predictions, labels, [0])
    assert {name for name, value in terms.items() if value == 0} == zero
    sum(terms.values()).backward()
    for logits in predictions:
        assert logits.grad.isfinite().all()
        assert logits.grad.any() == ("class" not in zero and logits is not predictions.boundary)


def test_half_precision_scores_give_float_losses():
    labels, predictions = random_labels(), random_predictions()
    half = PixelPredictions(*(logits.half() * 100 for logits in predictions))
    for value in PixelLoss(ohem_threshold=0.9)(half, labels, [0, 1]).values():
        assert value.dtype == torch.float32
        assert value.isfinite()
