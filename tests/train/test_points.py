import torch

from train.config import LossConfig
from train.points import sample_labels, sample_points, uncertain_points


def test_samples_at_pixel_centres_are_the_pixels():
    maps = torch.rand(2, 3, 4, 5)
    y, x = torch.meshgrid((torch.arange(4) + 0.5) / 4, (torch.arange(5) + 0.5) / 5, indexing="ij")
    points = torch.stack((x, y), dim=-1).view(1, 20, 2).expand(2, -1, -1)
    torch.testing.assert_close(sample_points(maps, points), maps.flatten(2))
    label = torch.randint(0, 9, (4, 5))
    assert torch.equal(sample_labels(label, points[0]), label.flatten())


def test_beyond_the_outermost_centres_a_map_fades_or_continues():
    corner = torch.tensor([[[0.0, 0.0]]])
    maps = torch.full((1, 1, 4, 4), 8.0)
    assert sample_points(maps, corner) == 2
    assert sample_points(maps, corner, beyond="border") == 8


def edge(place: float, size: int) -> torch.Tensor:
    """A mask whose boundary is the vertical line at x = place."""
    x = (torch.arange(size) + 0.5) / size
    return (20 * (x - place)).expand(1, 1, size, size)


def test_uncertain_points_lie_near_the_boundary_of_any_mask():
    config = LossConfig(num_points=400, oversample_ratio=4, importance_ratio=0.75)

    def places(*masks: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        points = uncertain_points(*masks, config=config, generator=generator, beyond="border")
        assert points.shape == (1, 400, 2)
        assert points.min() >= 0
        assert points.max() <= 1
        return points[0, :, 0]

    left, both = places(edge(0.25, 64)), places(edge(0.25, 64), edge(0.75, 32))
    near = [[((x - place).abs() < 0.1).float().mean() for place in (0.25, 0.75)]
            for x in (left, both)]  # fmt: skip
    assert near[0][0] > 0.75
    assert near[0][1] < 0.1
    assert min(near[1]) > 0.4
    assert (left > 0.5).float().mean() > 0.1  # the rest lies anywhere
