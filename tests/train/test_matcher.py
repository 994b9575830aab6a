import itertools

import torch
import torch.nn.functional as F

from train.matcher import assign, mask_cost, matching_cost


def test_the_cost_is_the_published_formula():
    torch.manual_seed(0)
    class_logits, masks = torch.randn(2, 6, 5), torch.randn(2, 6, 40)
    classes = torch.tensor([1, 3, 0])
    truth = torch.randint(0, 5, (40,))
    target = (truth == classes[:, None]).float()
    valid = (torch.rand(40) > 0.2).float()
    cost = matching_cost(
        class_logits,
        masks,
        classes,
        target,
        valid,
        class_weight=2,
        mask_weight=5,
        dice_weight=3,
    )
    for p, m, t in itertools.product(range(2), range(6), range(3)):
        keep = valid.bool()
        x, y = masks[p, m][keep], target[t][keep]
        s = x.sigmoid()
        expected = (
            -2 * class_logits[p, m].softmax(0)[classes[t]]
            + 5 * F.binary_cross_entropy_with_logits(x, y)
            + 3 * (1 - (2 * (s * y).sum() + 1) / (s.sum() + y.sum() + 1))
        )
        torch.testing.assert_close(cost[p, m, t], expected)


def test_the_cost_of_soft_masks():
    torch.manual_seed(2)
    masks, target = torch.randn(1, 4, 40), torch.rand(3, 40)
    cost = mask_cost(masks, target, torch.ones(40), mask_weight=5, dice_weight=3)
    for m, t in itertools.product(range(4), range(3)):
        s, y = masks[0, m].sigmoid(), target[t]
        expected = 5 * F.binary_cross_entropy_with_logits(masks[0, m], y) + 3 * (
            1 - (2 * (s * y).sum() + 1) / (s.sum() + y.sum() + 1)
        )
        torch.testing.assert_close(cost[0, m, t], expected)


def test_the_assignment_is_the_cheapest():
    torch.manual_seed(1)
    cost = torch.rand(3, 5, 4)
    rounds, queries, targets = assign(cost)
    for p in range(3):
        mine = cost[p, queries[rounds == p], targets[rounds == p]].sum()
        best = min(
            sum(cost[p, q, t] for t, q in enumerate(chosen))
            for chosen in itertools.permutations(range(5), 4)
        )
        torch.testing.assert_close(mine, best)


def test_more_classes_than_queries_and_none_at_all():
    rounds, queries, targets = assign(torch.rand(2, 3, 7))
    assert len(rounds) == 6
    assert targets.max() < 7
    assert sorted(queries[:3].tolist()) == [0, 1, 2]
    assert len(assign(torch.rand(2, 3, 0))[0]) == 0
