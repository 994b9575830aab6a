import pytest
import torch

from emca.errors import UserError
from segdata.datasets import open_dataset
from train.data import PositionSampler, SampleStream, raising, training_loader


def stream(tiny):
    return SampleStream(open_dataset(tiny.train_data), tiny.augment, seed=3)


def sampler(start=0, process=0, processes=1):
    return PositionSampler(start=start, steps=5, batch_size=4, process=process, processes=processes)


def test_every_epoch_visits_every_sample_once(tiny, monkeypatch):
    visited = []
    samples = stream(tiny)
    dataset = samples.dataset

    class Spy:
        def __len__(self):
            return len(dataset)

        def __getitem__(self, i):
            visited.append(i)
            return dataset[i]

    samples.dataset = Spy()
    for position in range(24):
        samples[position]
    assert sorted(visited[:12]) == list(range(12)) == sorted(visited[12:])
    assert visited[:12] != visited[12:]


def test_a_resumed_loader_continues_the_same_stream(tiny):
    whole = list(training_loader(stream(tiny), sampler(), workers=0, pin_memory=False))
    tail = list(training_loader(stream(tiny), sampler(start=3), workers=1, pin_memory=False))
    assert len(whole) == 5
    assert len(tail) == 2
    for a, b in zip(whole[3:], tail, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
        assert a.seeds == b.seeds


def test_processes_share_each_batch():
    whole = list(sampler())
    parts = [list(sampler(process=rank, processes=2)) for rank in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


class Broken:
    def __len__(self):
        return 4

    def __getitem__(self, i):
        raise UserError("street.png is damaged")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_in_the_data_arrives_as_it_was(tiny, workers):
    samples = stream(tiny)
    samples.dataset = Broken()
    loader = training_loader(samples, sampler(), workers=workers, pin_memory=False)
    with pytest.raises(UserError, match=r"^street\.png is damaged$"):
        next(raising(loader))


def test_a_batch_is_channels_last_uint8(tiny):
    batch = next(iter(training_loader(stream(tiny), sampler(), workers=0, pin_memory=False)))
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (4, 3, 64, 64)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.shape == (4, 64, 64)
    assert len(set(batch.seeds)) == 4
