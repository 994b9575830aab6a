import pytest
import torch
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from segdata.classes import IGNORE_INDEX
from train.config import LossConfig
from train.loss import MaskLoss, dice_loss
from train.models.decoder import Predictions

CLASSES, QUERIES, ROUNDS = 5, 8, 3


def predictions(batch: int = 2, size: int = 16) -> Predictions:
    torch.manual_seed(0)
    return Predictions(
        torch.randn(ROUNDS, batch, QUERIES, CLASSES + 1, requires_grad=True),
        torch.randn(ROUNDS, batch, QUERIES, size, size, requires_grad=True),
    )


def labels(batch: int = 2, size: int = 64) -> torch.Tensor:
    torch.manual_seed(1)
    blocks = torch.randint(0, CLASSES, (batch, 4, 4))
    return blocks.repeat_interleave(size // 4, 1).repeat_interleave(size // 4, 2)


def loss_of(p: Predictions, y: torch.Tensor, **config: float) -> dict[str, torch.Tensor]:
    return MaskLoss(LossConfig(num_points=256, **config), num_classes=CLASSES)(
        p, y, list(range(len(y)))
    )


def test_it_is_the_loss_of_transformers_on_equal_points(monkeypatch):
    """Same matching, same uncertain points, same three terms in every round."""
    y, p = labels(), predictions()
    everywhere = torch.rand(4096, 2, generator=torch.Generator().manual_seed(2))
    everywhere = (torch.floor(everywhere * 64) + 0.5) / 64  # pixel centres of the label map

    def same_points(*shape, **_):
        return everywhere[: shape[-2]].expand(shape).clone()

    config = Mask2FormerConfig(
        num_labels=CLASSES,
        train_num_points=256,
        class_weight=2.0,
        mask_weight=5.0,
        dice_weight=5.0,
        no_object_weight=0.1,
    )
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    present = [label.unique() for label in y]
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", same_points)
        ours = loss_of(p, y)
        theirs = Mask2FormerLoss(config, weights)(
            masks_queries_logits=p.mask_logits[-1],
            class_queries_logits=p.class_logits[-1],
            mask_labels=[
                (label == classes[:, None, None]).float()
                for label, classes in zip(y, present, strict=True)
            ],
            class_labels=present,
            auxiliary_predictions=[
                {"masks_queries_logits": m, "class_queries_logits": c}
                for m, c in zip(p.mask_logits[:-1], p.class_logits[:-1], strict=True)
            ],
        )
    for mine, name in (
        ("class", "loss_cross_entropy"),
        ("mask", "loss_mask"),
        ("dice", "loss_dice"),
    ):
        total = sum(value for key, value in theirs.items() if key.startswith(name))
        torch.testing.assert_close(ours[mine], weights[name] * total.squeeze())


def test_the_right_answer_costs_next_to_nothing():
    y = labels()
    p = predictions(size=64)
    classes = torch.full((2, QUERIES), CLASSES)
    masks = torch.full((2, QUERIES, 64, 64), -20.0)
    for image in range(2):
        for query, category in enumerate(y[image].unique()):
            classes[image, query] = category
            masks[image, query][y[image] == category] = 20.0
    right = Predictions(
        20 * torch.nn.functional.one_hot(classes, CLASSES + 1).float().expand(ROUNDS, -1, -1, -1),
        masks.expand(ROUNDS, -1, -1, -1, -1),
    )
    for name, value in loss_of(right, y).items():
        assert value < 0.05 * loss_of(p, y)[name], name


def test_dice_is_the_usual_one_on_hard_targets_and_zero_where_soft_ones_are_met():
    torch.manual_seed(3)
    p, hard, soft = torch.rand(4, 50), (torch.rand(4, 50) > 0.5).float(), torch.rand(4, 50)
    usual = 1 - (2 * (p * hard).sum(1) + 1) / (p.sum(1) + hard.sum(1) + 1)
    torch.testing.assert_close(dice_loss(p, hard), usual)
    assert (dice_loss(soft, soft) == 0).all()
    assert (dice_loss(soft.round(), soft) > 0.1).all()


def test_unlabelled_pixels_do_not_count():
    y, p = labels(), predictions()
    y[:, 32:] = IGNORE_INDEX
    loss = loss_of(p, y)
    sum(loss.values()).backward()
    gradient = p.mask_logits.grad
    assert gradient[..., :7, :].abs().sum() > 0
    assert gradient[..., 9:, :].abs().sum() == 0


def test_an_image_without_labels_trains_no_object_only():
    y, p = torch.full((2, 64, 64), IGNORE_INDEX), predictions()
    loss = loss_of(p, y)
    assert loss["mask"] == loss["dice"] == 0
    assert loss["class"] > 0
    sum(loss.values()).backward()


def test_without_labels_and_a_weight_for_none_there_is_no_loss():
    y = torch.full_like(labels(), IGNORE_INDEX)
    assert sum(loss_of(predictions(), y, no_object_weight=0.0).values()) == 0


def test_each_image_has_its_own_points():
    y, p = labels(), predictions()
    together = loss_of(p, y)["mask"]
    loss = MaskLoss(LossConfig(num_points=256), num_classes=CLASSES)
    counts = [len(label.unique()) for label in y]
    apart = 0.0
    for i in range(2):
        one = Predictions(p.class_logits[:, i : i + 1], p.mask_logits[:, i : i + 1])
        apart += loss(one, y[i : i + 1], [i])["mask"] * counts[i]
    torch.testing.assert_close(together, apart / sum(counts))


@pytest.mark.parametrize("name", ["class", "mask", "dice"])
def test_weights_scale_their_term(name):
    y, p = labels(), predictions()
    heavier = loss_of(p, y, **{f"{name}_weight": 0.0})
    assert heavier[name] == 0
    assert loss_of(p, y)[name] > 0
