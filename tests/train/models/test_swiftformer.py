import pytest
import torch
from transformers import SwiftFormerConfig, SwiftFormerForImageClassification

from emca.errors import UserError
from train.models.backbones import SWIFTFORMER, build_backbone

MILLIONS = {  # of the classifiers: arXiv 2303.15446, table 1
    "swiftformer_xs": 3.5,
    "swiftformer_s": 6.1,
    "swiftformer_l1": 12.1,
    "swiftformer_l3": 28.5,
}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def classifier(name):
    depths, widths = SWIFTFORMER[name]
    return SwiftFormerForImageClassification(
        SwiftFormerConfig(depths=list(depths), embed_dims=list(widths), num_labels=1000)
    )


@pytest.mark.parametrize("name", SWIFTFORMER)
def test_parameters_are_as_many_as_published(name):
    theirs, ours = classifier(name), build_backbone(name)
    assert round(count(theirs) / 1e6, 1) == MILLIONS[name]
    assert count(ours.model) == count(theirs.swiftformer)
    assert count(ours.norms) == 2 * sum(ours.channels)


@pytest.mark.parametrize("name", SWIFTFORMER)
def test_maps_have_the_four_strides_at_any_size(name):
    backbone = build_backbone(name).eval()
    for size in ((64, 96), (75, 101)):
        with torch.no_grad():
            maps = backbone(torch.randn(1, 3, *size))
        shapes = [tuple(-(-length // stride) for length in size) for stride in (4, 8, 16, 32)]
        assert [tuple(x.shape[2:]) for x in maps] == shapes
        assert [x.shape[1] for x in maps] == backbone.channels
        assert all(x.isfinite().all() and x.std() > 1e-3 for x in maps)


def test_maps_are_the_normed_outputs_of_the_stages():
    torch.manual_seed(0)
    backbone = build_backbone("swiftformer_xs").eval()
    for norm in backbone.norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    stages = []
    for i in (0, 2, 4, 6):
        backbone.model.encoder.network[i].register_forward_hook(
            lambda _, __, output: stages.append(output)
        )
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = backbone(image)
        last = backbone.model(image).last_hidden_state
        expected = [norm(x) for norm, x in zip(backbone.norms, stages, strict=False)]
    assert torch.equal(stages[3], last)
    for got, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_imagenet_weights_load_from_a_folder(tmp_path):
    torch.manual_seed(0)
    theirs = classifier("swiftformer_xs")
    theirs.save_pretrained(tmp_path)
    ours = build_backbone("swiftformer_xs", weights=str(tmp_path))
    original = theirs.swiftformer.state_dict()
    loaded = ours.model.state_dict()
    assert loaded.keys() == original.keys()
    for key, value in loaded.items():
        assert torch.equal(value, original[key]), key


def test_weights_of_another_size_are_refused(tmp_path):
    classifier("swiftformer_s").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="backbone weights"):
        build_backbone("swiftformer_xs", weights=str(tmp_path))


def test_stochastic_depth_is_passed_on():
    blocks = build_backbone("swiftformer_xs", drop_path=0.2).model.encoder.network[6].blocks
    assert blocks[-1].drop_path.drop_prob == pytest.approx(0.2)
