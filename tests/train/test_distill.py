import pytest
import torch
import torch.nn.functional as F
from tiny import tiny_config
from torch import nn

from train.config import Config, DistillConfig, LossConfig
from train.distill import Distillation
from train.models import build_model
from train.models.decoder import Predictions

CLASSES, QUERIES, ROUNDS, BATCH = 5, 8, 3, 2
TERMS = ("distill_class", "distill_mask", "distill_dice")


class Says(nn.Module):
    """A teacher that answers what it was given."""

    def __init__(self, class_logits: torch.Tensor, mask_logits: torch.Tensor) -> None:
        super().__init__()
        self.answer = Predictions(class_logits, mask_logits)

    def forward(self, images: torch.Tensor) -> Predictions:
        return self.answer


def answer(seed: int, *, queries: int = QUERIES, size: int = 16) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    return Predictions(
        3 * torch.randn(1, BATCH, queries, CLASSES + 1, generator=generator),
        3 * torch.randn(1, BATCH, queries, size, size, generator=generator),
    )


def student(said: Predictions, order: torch.Tensor | None = None) -> Predictions:
    """Predictions that can learn: `said` in every round, its queries in another order in each."""
    classes, masks = (logits.repeat(ROUNDS, *[1] * (logits.dim() - 1)) for logits in said)
    if order is not None:
        for i in range(ROUNDS):
            classes[i], masks[i] = classes[i, :, order.roll(i)], masks[i, :, order.roll(i)]
    return Predictions(classes.requires_grad_(), masks.requires_grad_())


def terms(
    learner: Predictions, teacher: Predictions, seeds: tuple[int, ...] = (0, 1), **weights: float
) -> dict[str, torch.Tensor]:
    config = Config(loss=LossConfig(num_points=256), distill=DistillConfig(**weights))
    distillation = Distillation(teacher=Says(*teacher), config=config)
    return distillation(learner, torch.zeros(len(seeds), 3, 64, 64), list(seeds))


def test_a_student_that_says_the_same_in_any_order_is_at_the_minimum():
    teacher = answer(0)
    learner = student(teacher, torch.randperm(QUERIES))
    loss = terms(learner, teacher)
    sum(loss.values()).backward()
    for name in TERMS:
        assert 0 <= loss[name] + 1e-5 < 2e-5, name
    assert learner.class_logits.grad.abs().max() < 1e-6
    with torch.no_grad():
        for sign in (-1, 1):
            classes, masks = (logits + sign * 0.5 * torch.randn_like(logits) for logits in learner)
            assert terms(Predictions(classes, learner.mask_logits), teacher)["distill_class"] > 0.1
            moved = terms(Predictions(learner.class_logits, masks), teacher)
            assert moved["distill_mask"] > 0.1
            assert moved["distill_dice"] > 0.1


def test_the_order_of_the_teachers_queries_does_not_matter():
    teacher, learner = answer(0), student(answer(1))
    order = torch.randperm(QUERIES)
    shuffled = Predictions(teacher.class_logits[:, :, order], teacher.mask_logits[:, :, order])
    assert terms(learner, shuffled) == terms(learner, teacher)
    assert terms(learner, teacher)["distill_mask"] > 1


def constant(classes: list[list[float]], masks: list[float], *, size: int) -> Predictions:
    """One image; log-probabilities of each query's classes, and one logit over its whole mask."""
    logits = torch.tensor(classes).log()[None, None]
    values = torch.tensor(masks)[None, None, :, None, None]
    return Predictions(logits, values.expand(1, 1, len(masks), size, size))


def test_pairs_count_as_much_as_the_teacher_believes():
    """Masks without features, so that points do not matter; the sizes of the two differ."""
    said = [[0.8, 0.1, 0.1], [0.1, 0.3, 0.6], [0.05, 0.01, 0.94]]
    learnt = [[0.6, 0.1, 0.3], [0.1, 0.5, 0.4], [0.1, 0.1, 0.8]]
    teacher = constant(said, [2.0, -1.0, -9.0], size=8)
    learner = constant(learnt, [1.0, 0.5, 9.0], size=16)
    weights = {"class_weight": 2.0, "mask_weight": 5.0, "dice_weight": 3.0}
    loss = terms(learner, teacher, (0,), **weights)

    target, guess = torch.tensor(said), torch.tensor(learnt)
    belief = 1 - target[:, -1]
    object_weight = belief + 0.1 * (1 - belief)
    divergence = (target * (target / guess).log()).sum(1)
    torch.testing.assert_close(
        loss["distill_class"], 2 * (object_weight * divergence).sum() / object_weight.sum()
    )
    believed = belief[:2]  # the third is no mask to learn from
    t, s = torch.tensor([2.0, -1.0]).sigmoid(), torch.tensor([1.0, 0.5]).sigmoid()
    bernoulli = t * (t / s).log() + (1 - t) * ((1 - t) / (1 - s)).log()
    torch.testing.assert_close(
        loss["distill_mask"], 5 * (believed * bernoulli).sum() / believed.sum()
    )
    dice = 256 * (t - s).abs() / (256 * (t + s) + 1)
    torch.testing.assert_close(loss["distill_dice"], 3 * (believed * dice).sum() / believed.sum())

    again = Predictions(*(torch.cat((logits, logits)) for logits in learner))
    for name, value in terms(again, teacher, (0,), **weights).items():
        torch.testing.assert_close(value, 2 * loss[name])  # two rounds, each against the same


def test_of_a_teacher_with_more_queries_the_believed_ones_are_learnt():
    """Most of the teacher's answers are empty; the student has room for the others alone."""
    teacher = answer(0, queries=20)
    teacher.class_logits[..., -1] += 20
    objects = torch.tensor([3, 11, 17, 19])
    teacher.class_logits[:, :, objects, -1] -= 40
    learner = student(Predictions(*(logits[:, :, objects] for logits in teacher)))
    assert sum(terms(learner, teacher).values()) < 1e-4


def test_of_a_student_with_more_queries_only_the_paired_ones_are_taught():
    teacher = answer(0, queries=3)
    learner = student(answer(1))
    sum(terms(learner, teacher).values()).backward()
    classes, masks = (
        gradient.flatten(3).abs().sum(-1) > 0
        for gradient in (learner.class_logits.grad, learner.mask_logits.grad)
    )
    assert classes.sum(-1).eq(3).all()
    assert masks.any()
    assert not (masks & ~classes).any()


def test_a_teacher_that_sees_nothing_teaches_no_masks():
    teacher, learner = answer(0), student(answer(1))
    teacher.class_logits[..., -1] += 50
    loss = terms(learner, teacher)
    assert loss["distill_mask"] == loss["distill_dice"] == 0
    sum(loss.values()).backward()
    assert (learner.class_logits.grad[..., -1] < 0).all()


def test_a_teacher_that_sees_nothing_may_teach_nothing():
    teacher, learner = answer(0), student(answer(1))
    teacher.class_logits[..., -1] += 500
    config = Config(loss=LossConfig(num_points=256, no_object_weight=0.0))
    loss = Distillation(teacher=Says(*teacher), config=config)(
        learner, torch.zeros(BATCH, 3, 64, 64), [0, 1]
    )
    assert sum(loss.values()) == 0


def test_each_image_has_its_own_points():
    teacher, learner = answer(0), student(answer(1))
    together = terms(learner, teacher, (4, 5))
    belief = (1 - teacher.class_logits[0].softmax(-1)[..., -1]).double()
    masks = torch.where(belief < 0.1, 0, belief).sum(1)
    for name, total in zip(TERMS, ((belief * 0.9 + 0.1).sum(1), masks, masks), strict=True):
        apart = 0.0
        for i in range(BATCH):
            mine, theirs = (
                Predictions(*(logits[:, i : i + 1] for logits in said))
                for said in (learner, teacher)
            )
            apart += terms(mine, theirs, (4 + i,))[name].double() * total[i]
        torch.testing.assert_close(together[name], (apart / total.sum()).float())


@pytest.mark.parametrize("name", ["class", "mask", "dice"])
def test_weights_scale_their_term(name):
    teacher, learner = answer(0), student(answer(1))
    assert terms(learner, teacher, **{f"{name}_weight": 0.0})[f"distill_{name}"] == 0
    assert terms(learner, teacher)[f"distill_{name}"] > 0


def opinionated(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """What a new network says is too even to call anything a label; this one sees differences."""
    with torch.no_grad():
        network.decoder.class_embed.weight.mul_(20)
        network.decoder.mask_embed.layers[-1].weight.mul_(60)
        for _ in range(3):  # for the statistics of its batch norms
            network.train()(images)
    return network


def test_a_student_comes_to_see_what_its_teacher_sees():
    """By the terms of the teacher alone: no label has a part in it. The backbone is given."""
    torch.manual_seed(3)
    images = F.interpolate(torch.rand(BATCH, 3, 4, 4) * 255, size=(64, 64))
    teacher, learner = (
        build_model(
            tiny_config(model={"num_queries": queries, "decoder_layers": 2}).model,
            num_classes=CLASSES,
        )
        for queries in (16, 12)
    )
    distillation = Distillation(teacher=opinionated(teacher, images), config=tiny_config())
    kept = {name: value.clone() for name, value in teacher.state_dict().items()}
    learner.backbone.load_state_dict(teacher.backbone.state_dict())
    learner.backbone.eval().requires_grad_(False)
    heads = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(heads, lr=1e-2)

    @torch.no_grad()
    def distance() -> float:
        scores = [network.class_scores(network(images)) for network in (teacher, learner.eval())]
        learner.pixel_decoder.train(), learner.decoder.train()
        return (scores[0] - scores[1]).abs().mean().item()

    before = distance()
    history = []
    for step in range(40):
        history.append(distillation(learner(images), images, [2 * step, 2 * step + 1]))
        optimizer.zero_grad()
        sum(history[-1].values()).backward()
        optimizer.step()
    assert distance() < 0.3 * before
    assert all(history[-1][name] < 0.5 * history[0][name] for name in TERMS)
    assert not teacher.training
    assert all(torch.equal(value, kept[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
