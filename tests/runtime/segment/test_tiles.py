from __future__ import annotations

import numpy as np
import pytest

from emca.errors import UserError
from runtime.backends import load
from runtime.evaluate import predict, to_scores
from runtime.segment.tiles import Tiling, predict_tiled, starts, weights
from segdata.preprocess import fit


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "expected"),
    [
        (100, 100, 0, [0]),
        (100, 50, 0, [0, 50]),
        (101, 50, 0, [0, 25, 51]),
        (100, 60, 20, [0, 40]),
        (101, 60, 20, [0, 20, 41]),
        (10, 3, 2, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_tiles_start_evenly(length, tile, overlap, expected):
    assert starts(length, tile, overlap) == expected


def test_tiles_cover_all_and_overlap_enough():
    for length in range(1, 60):
        for tile in range(1, length + 1):
            for overlap in range(tile):
                found = starts(length, tile, overlap)
                assert found[0] == 0
                assert found[-1] + tile == length
                steps = np.diff(found)
                assert (steps <= tile - overlap).all()
                assert (steps > 0).all()


def test_weights_rise_to_the_middle():
    assert weights(5).tolist() == [1, 2, 3, 2, 1]
    assert weights(4).tolist() == [1, 2, 2, 1]
    assert weights(1).tolist() == [1]


def reference(backend, image, size, overlap):
    """The blend over the whole image, all classes at once, from `predict` or the raw scores."""
    height, width = image.shape[:2]
    size = (min(size[0], height), min(size[1], width))
    count = len(backend.card.classes)
    total = np.zeros((count, height, width))
    weight = weights(size[0])[:, None] * weights(size[1])
    for top in starts(height, size[0], overlap):
        for left in starts(width, size[1], overlap):
            place = np.s_[top : top + size[0], left : left + size[1]]
            planes = tile_planes(backend, image[place], count)
            total[(slice(None), *place)] += planes * weight
    return total.argmax(0).astype(np.uint8)


def tile_planes(backend, tile, count):
    if backend.card.head == "labels":
        return predict(backend, tile) == np.arange(count)[:, None, None]
    size = backend.input_shape[1:3]
    assert tile.shape[:2] == size  # no fitting back: the scores blown up are those of the pixels
    outputs = backend.infer(fit(tile, size)[None])
    scores = to_scores({name: value[0] for name, value in outputs.items()}).astype(np.float32)
    return np.stack([blown_up(plane, size) for plane in scores])


def blown_up(plane, size):
    """Bilinear with half-pixel centres, written out."""

    def matrix(source, target):
        places = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.minimum(places.astype(int), source - 2)
        result = np.zeros((target, source))
        result[np.arange(target), low] = 1 - (places - low)
        result[np.arange(target), low + 1] = places - low
        return result

    return matrix(plane.shape[0], size[0]) @ plane @ matrix(plane.shape[1], size[1]).T


@pytest.fixture
def photo(toys):
    """An image of classes and noise, larger than the model's input."""
    labels = toys.stripes((131, 170))
    noise = np.random.default_rng(0).integers(-70, 70, (131, 170, 3))
    return np.clip(toys.paint(labels).astype(int) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(48, 64), (60, 50), (131, 64), (30, 41)])
@pytest.mark.parametrize("overlap", [0, 7, 19])
def test_votes_are_those_of_the_reference(toys, photo, size, overlap):
    backend = load(toys.model(noise=60.0))
    found = predict_tiled(backend, photo, Tiling(size, overlap))
    np.testing.assert_array_equal(found, reference(backend, photo, size, overlap))


@pytest.mark.parametrize("head", ["scores", "masks"])
@pytest.mark.parametrize("overlap", [0, 9, 30])
def test_scores_blend_as_in_the_reference(toys, photo, head, overlap):
    backend = load(toys.model(head=head, noise=60.0))
    found = predict_tiled(backend, photo, Tiling(toys.size, overlap))
    expected = reference(backend, photo, toys.size, overlap)
    assert len(np.unique(expected)) == 4
    assert (found == expected).mean() > 0.999  # sums of floats in another order


@pytest.mark.parametrize("head", ["labels", "scores", "masks"])
def test_an_image_of_one_tile_is_labelled_as_without_tiles(toys, photo, head):
    backend = load(toys.model(head=head))
    expected = predict(backend, photo)
    np.testing.assert_array_equal(predict_tiled(backend, photo, Tiling((500, 170), 40)), expected)


@pytest.mark.parametrize("head", ["labels", "scores"])
def test_tiles_side_by_side_keep_their_own_labels(toys, photo, head):
    backend = load(toys.model(head=head))
    found = predict_tiled(backend, photo[:130], Tiling((65, 85)))
    for top in (0, 65):
        for left in (0, 85):
            place = np.s_[top : top + 65, left : left + 85]
            np.testing.assert_array_equal(found[place], predict(backend, photo[place]))


@pytest.mark.parametrize("head", ["labels", "scores"])
@pytest.mark.parametrize("batch", ["N", 3])
def test_any_batch_size_gives_the_same(toys, photo, head, batch):
    one = load(toys.model(head=head))
    many = load(toys.model("many.onnx", head=head, batch=batch))
    tiling = Tiling(toys.size, 10)
    np.testing.assert_array_equal(
        predict_tiled(many, photo, tiling), predict_tiled(one, photo, tiling)
    )


def test_no_seam_where_the_classes_continue(toys):
    """Where tiles end, labels are right as often as elsewhere."""
    truth = toys.stripes((150, 200))
    backend = load(toys.model(head="scores"))
    wrong = predict_tiled(backend, toys.paint(truth), Tiling(toys.size, 24)) != truth
    seams = np.zeros_like(wrong)
    for top in starts(150, 48, 24)[1:]:
        seams[top - 1 : top + 1] = True
    for left in starts(200, 64, 24)[1:]:
        seams[:, left - 1 : left + 1] = True
    plain = predict(backend, toys.paint(truth)) != truth
    assert wrong[seams].mean() <= wrong.mean() + 0.05
    assert wrong.mean() < plain.mean()  # tiles see the image at its own size


@pytest.mark.parametrize(
    ("size", "overlap", "message"),
    [
        ((0, 5), 0, "tile of 0x5 holds no pixel"),
        ((32, 64), 32, "overlap of 32 does not go with tiles of 32x64; take 0 to 31"),
        ((32, 64), -1, "overlap of -1"),
    ],
)
def test_sizes_that_make_no_sense_are_named(size, overlap, message):
    with pytest.raises(UserError, match=message):
        Tiling(size, overlap)
