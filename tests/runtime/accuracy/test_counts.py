import numpy as np
import pytest

from runtime.accuracy.counts import (
    Counts,
    Interval,
    count,
    draws,
    iou_differences,
    miou,
    miou_difference,
    near_borders,
    share,
)
from segdata.metrics import ConfusionMatrix

NONE = Interval(None, None, None)


def labels(rng, *, of, size=(20, 30)):
    return rng.choice(np.array(of, np.uint8), size)


def counted(pairs, classes, reference=None):
    """Counts of (truth, prediction) pairs; the reference is the prediction unless given."""
    nowhere = [np.zeros(truth.shape, bool) for truth, _ in pairs]
    references = reference or [prediction for _, prediction in pairs]
    return Counts.join(
        [
            count(prediction, expected, near, truth, classes)
            for (truth, prediction), expected, near in zip(pairs, references, nowhere, strict=True)
        ]
    )


def test_iou_is_that_of_the_confusion_matrix_to_the_last_digit():
    rng = np.random.default_rng(1)
    matrix = ConfusionMatrix(7)
    pairs = []
    for height in (20, 33, 41):
        # Of the classes 5 is only predicted and 6 nowhere.
        truth = labels(rng, of=[0, 1, 2, 3, 4, 255], size=(height, 30))
        wrong = labels(rng, of=[0, 1, 5, 255], size=truth.shape)
        hit = (rng.random(truth.shape) < 0.6) & (truth != 255)
        pairs.append((truth, np.where(hit, truth, wrong)))
        matrix.update(*pairs[-1])
    counts = counted(pairs, 7)
    assert counts.miou == matrix.miou
    np.testing.assert_array_equal(counts.iou, matrix.iou)
    assert np.isnan(counts.iou[6])
    assert counts.iou[5] == 0
    weights = draws(3, resamples=200, seed=0)
    assert miou(counts, weights).value == matrix.miou


def test_a_label_that_is_no_class_is_a_miss():
    truth = np.zeros((4, 4), np.uint8)
    broken = np.full((4, 4), 200, np.uint8)
    broken[:2] = 0
    assert counted([(truth, broken)], 2).iou[0] == 0.5


def test_agreement_counts_every_pixel_and_those_near_borders():
    truth = np.full((6, 8), 255, np.uint8)
    reference = np.zeros((6, 8), np.uint8)
    reference[:, 4:] = 1
    candidate = reference.copy()
    candidate[:, 4] = 0
    near = near_borders(reference, 1)
    counts = count(candidate, reference, near, truth, 2)
    assert (counts.equal.tolist(), counts.pixels.tolist()) == ([42], [48])
    assert (counts.near_equal.tolist(), counts.near.tolist()) == ([6], [12])
    assert counts.agreement.tolist() == [42 / 48]
    assert np.isnan(counts.miou)


def test_near_is_so_many_pixels_to_either_side():
    picture = np.zeros((9, 20), np.uint8)
    picture[:, 8:] = 3
    for width in (1, 3):
        expected = np.zeros((9, 20), bool)
        expected[:, 8 - width : 8 + width] = True
        np.testing.assert_array_equal(near_borders(picture, width), expected)
    assert not near_borders(np.full((9, 20), 3, np.uint8), 4).any()


def test_draws_are_seeded_and_as_large_as_the_data():
    weights = draws(17, resamples=50, seed=3)
    assert weights.shape == (50, 17)
    assert (weights.sum(axis=1) == 17).all()
    np.testing.assert_array_equal(weights, draws(17, resamples=50, seed=3))
    assert (weights != draws(17, resamples=50, seed=4)).any()


def population(rng, images):
    """Images of very different quality, two classes; the candidate loses hits in some."""
    truth = rng.integers(200, 800, (images, 2))
    skill = rng.beta(6, 2, (images, 2))
    hits = rng.binomial(truth, skill)
    kept = rng.binomial(hits, rng.beta(30, 1, (images, 1)))

    def counts(own):
        zeros = np.zeros(images, np.int64)
        missed = (truth - own)[:, ::-1]  # what is not of this class is of the other
        return Counts(own, truth, own + missed, own.sum(1), truth.sum(1), zeros, zeros)

    return counts(hits), counts(kept)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    everything = population(rng, 200_000)
    true = everything[1].miou - everything[0].miou
    one = everything[1].iou[1] - everything[0].iou[1]
    same = everything[1].equal.sum() / everything[1].pixels.sum()
    hits = np.zeros(3)
    trials = 200
    for trial in range(trials):
        reference, candidate = population(rng, 60)
        weights = draws(60, resamples=300, seed=trial)
        found = (
            (miou_difference(reference, candidate, weights), true),
            (iou_differences(reference, candidate, weights)[1], one),
            (share(candidate.equal, candidate.pixels, weights), same),
        )
        hits += [interval.low <= value <= interval.high for interval, value in found]
    assert (hits / trials > 0.88).all()  # 95 % but for the small samples and the luck of 200
    assert (hits / trials < 0.985).all()


def test_both_files_are_scored_on_the_same_draw():
    reference, candidate = population(np.random.default_rng(5), 80)
    weights = draws(80, resamples=500, seed=0)
    difference = miou_difference(reference, candidate, weights)
    alone = miou(candidate, weights)
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)
    assert miou_difference(reference, reference, weights) == Interval(0, 0, 0)


def test_what_does_not_exist_has_no_interval():
    rng = np.random.default_rng(2)
    truth = [labels(rng, of=[0, 1]) for _ in range(12)]
    truth[4][0, 0] = 3  # one pixel in one image: most draws with it, some without
    counts = counted([(one, one) for one in truth], 5)
    weights = draws(12, resamples=300, seed=0)
    found = iou_differences(counts, counts, weights)
    assert [one == NONE for one in found] == [False, False, True, False, True]
    assert found[3] == Interval(0, 0, 0)
    assert share(counts.near_equal, counts.near, weights) == NONE
    unlabelled = Counts.join([count(one, one, np.zeros(one.shape, bool), None, 5) for one in truth])
    assert miou(unlabelled, weights) == NONE
    assert miou_difference(unlabelled, unlabelled, weights) == NONE
    assert share(unlabelled.equal, unlabelled.pixels, weights) == Interval(1, 1, 1)


def test_scaling_keeps_what_is_missing():
    assert Interval(0.5, 0.25, 1).scaled(100) == Interval(50, 25, 100)
    assert NONE.scaled(100) == NONE


@pytest.mark.parametrize("images", [1, 2])
def test_few_images_have_an_interval_too(images):
    reference, candidate = population(np.random.default_rng(9), images)
    found = miou_difference(reference, candidate, draws(images, resamples=100, seed=0))
    assert found.low <= found.value <= found.high
