import numpy as np
import pytest

from plugins.reference import prototype_attention


def test_prototype_is_the_best_visible_feature():
    query = np.array([[[1.0, 0.0], [0.0, 1.0]]], np.float32)
    feature = np.array([[[3.0, 0.0], [1.0, 2.0], [0.0, 5.0]]], np.float32)
    mask = np.array([[[-1.0, 0.0, 4.0], [0.5, 0.5, -0.5]]], np.float32)
    attended, prototype = prototype_attention(query, feature, mask, num_heads=1)
    np.testing.assert_array_equal(prototype[0], [[1.0, 2.0], [1.0, 2.0]])
    np.testing.assert_array_equal(attended[0], [[1.0, 0.0], [0.0, 2.0]])


def test_heads_choose_on_their_own():
    query = np.array([[[1.0, 1.0]]])
    feature = np.array([[[1.0, 7.0], [2.0, 3.0]]])
    _, prototype = prototype_attention(query, feature, np.zeros((1, 1, 2)), num_heads=2)
    np.testing.assert_array_equal(prototype[0, 0], [2.0, 7.0])


def test_a_fully_masked_query_sees_everything_and_its_neighbour_does_not():
    query = np.ones((1, 2, 1))
    feature = np.array([[[1.0], [9.0]]])
    mask = np.array([[[-1.0, -1.0], [1.0, -1.0]]])
    _, prototype = prototype_attention(query, feature, mask, num_heads=1)
    np.testing.assert_array_equal(prototype[0, :, 0], [9.0, 1.0])


def test_lowest_position_wins_a_tie():
    feature = np.array([[[2.0, 1.0], [2.0, 8.0], [1.0, 9.0]]])
    query = np.array([[[1.0, 0.0]]])
    _, prototype = prototype_attention(query, feature, np.zeros((1, 1, 3)), num_heads=1)
    np.testing.assert_array_equal(prototype[0, 0], [2.0, 1.0])


def test_half_precision_is_summed_in_single():
    # 2048 + 1 is not representable in FP16, so summing there would tie.
    query = np.ones((1, 1, 2), np.float16)
    feature = np.array([[[2048, 0], [2048, 1]]], np.float16)
    attended, prototype = prototype_attention(query, feature, np.zeros((1, 1, 2)), num_heads=1)
    assert attended.dtype == prototype.dtype == np.float16
    np.testing.assert_array_equal(prototype[0, 0], [2048, 1])


@pytest.mark.parametrize(
    ("query", "feature", "mask", "heads", "message"),
    [
        ((1, 4), (1, 5, 4), (1, 2, 5), 2, "query and feature have shapes"),
        ((1, 2, 4), (1, 5, 6), (1, 2, 5), 2, r"feature has shape \(1, 5, 6\)"),
        ((1, 2, 4), (1, 0, 4), (1, 2, 0), 2, "N > 0"),
        ((1, 2, 4), (1, 5, 4), (1, 5, 2), 2, r"mask_logits has shape \(1, 5, 2\)"),
        ((1, 2, 4), (1, 5, 4), (1, 2, 5), 3, "num_heads is 3; expected a divisor of the 4"),
    ],
)
def test_bad_shapes_are_named(query, feature, mask, heads, message):
    with pytest.raises(ValueError, match=message):
        prototype_attention(np.ones(query), np.ones(feature), np.ones(mask), heads)
