import numpy as np
import pytest
import torch
import torch.nn.functional as F

from plugins.reference import prototype_attention
from train.models.emca import (
    MeanPrototype,
    PrototypeAttention,
    PrototypeCrossAttention,
    l2_normalize,
    visible_tokens,
)

B, M, N, C, HEADS = 2, 5, 24, 16, 4


def inputs():
    torch.manual_seed(0)
    query = F.normalize(torch.randn(B, M, C), dim=-1)
    feature = F.normalize(torch.randn(B, N, C), dim=-1)
    mask = torch.randn(B, M, N)
    mask[0, 1] = -1.0
    return query, feature, mask


def test_it_is_the_numpy_reference():
    query, feature, mask = inputs()
    ours = PrototypeAttention(num_heads=HEADS)(query, feature, mask)
    theirs = prototype_attention(query.numpy(), feature.numpy(), mask.numpy(), HEADS)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-6)


def test_a_query_that_sees_nothing_sees_everything():
    mask = torch.tensor([[[1.0, -1.0], [-1.0, -2.0]]])
    assert visible_tokens(mask).tolist() == [[[True, False], [True, True]]]


def test_the_lowest_index_wins_a_tie():
    feature = torch.ones(1, 4, 2)
    feature[0, :, 1] = torch.tensor([0.0, 5.0, 6.0, 7.0])
    query = torch.tensor([[[1.0, 0.0]]])
    mask = torch.tensor([[[-1.0, 1.0, 1.0, 1.0]]])
    prototype = PrototypeAttention(num_heads=1)(query, feature, mask)[1]
    assert prototype.tolist() == [[[1.0, 5.0]]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_picks_the_same_prototypes(dtype):
    torch.manual_seed(0)
    feature = F.normalize(torch.ones(1, 64, 16) + 0.01 * torch.randn(1, 64, 16), dim=-1)
    query, mask = F.normalize(torch.randn(1, 50, 16), dim=-1), torch.ones(1, 50, 64)
    attention = PrototypeAttention(num_heads=2)
    expected = attention(query, feature, mask)[1]
    with torch.autocast("cpu", dtype):
        assert torch.equal(attention(query, feature, mask)[1], expected)


def test_gradients_reach_the_chosen_tokens_only():
    query, feature, mask = inputs()
    query.requires_grad_(True)
    feature.requires_grad_(True)
    attended, prototype = PrototypeAttention(num_heads=1)(query, feature, mask)
    (attended.sum() + prototype.sum()).backward()
    touched = (feature.grad.abs().sum(-1) > 0).sum(-1)
    assert (touched >= 1).all()
    assert (touched <= M).all()
    assert query.grad.abs().sum() > 0


def test_the_block_is_the_formula():
    """T' = T + W_o(normalize(W_A(q * Kp) over the query axis) * alpha + Kp)."""
    torch.manual_seed(0)
    block = PrototypeCrossAttention(dim=C, num_heads=HEADS).eval()
    torch.nn.init.normal_(block.alpha)
    queries, query_pos = torch.randn(B, M, C), torch.randn(1, M, C)
    features, feature_pos = torch.randn(B, C, 4, 6), torch.randn(1, C, 4, 6)
    mask = torch.randn(B, M, N)
    key = block.feature_proj.bn(features + feature_pos)
    key = block.feature_proj.out(block.feature_proj.to_query_3x3(key).flatten(2).mT)
    key = key / key.norm(dim=-1, keepdim=True)
    q = block.query_proj(queries + query_pos)
    q = q / q.norm(dim=-1, keepdim=True)
    attended, prototype = (
        torch.from_numpy(x)
        for x in prototype_attention(q.detach().numpy(), key.detach().numpy(), mask.numpy(), HEADS)
    )
    a = block.proj(attended)
    a = a / a.norm(dim=1, keepdim=True)
    expected = queries + block.final(a * block.alpha + prototype)
    torch.testing.assert_close(block(queries, features, mask, query_pos, feature_pos), expected)


def test_the_state_dict_names_are_pem_s():
    names = set(PrototypeCrossAttention(dim=8, num_heads=2).state_dict())
    layers = ["feature_proj.bn", "feature_proj.to_query_3x3", "feature_proj.out"]
    layers += ["query_proj.0", "query_proj.1", "proj", "final"]
    assert "alpha" in names
    assert {name.rpartition(".")[0] for name in names} == {*layers, ""}


def test_ablations_differ_from_emca():
    torch.manual_seed(0)
    arguments = (
        torch.randn(B, M, C),
        torch.randn(B, C, 4, 6),
        torch.randn(B, M, N),
        torch.randn(1, M, C),
        torch.randn(1, C, 4, 6),
    )
    outputs = []
    for options in ({}, {"prototype": "mean"}, {"interaction": "identity"}):
        torch.manual_seed(1)
        block = PrototypeCrossAttention(dim=C, num_heads=HEADS, **options).eval()
        outputs.append(block(*arguments))
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-3)


def test_the_mean_prototype_is_the_mean_of_the_visible():
    query, feature, mask = inputs()
    prototype = MeanPrototype()(query, feature, mask)[1]
    torch.testing.assert_close(prototype[0, 1], feature[0].mean(0))
    torch.testing.assert_close(prototype[1, 0], feature[1][mask[1, 0] >= 0].mean(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_half_precision_vectors_keep_unit_length(dtype):
    x = torch.full((1, 4), 1e-4, dtype=dtype)
    torch.testing.assert_close(l2_normalize(x, dim=-1), torch.full((1, 4), 0.5, dtype=dtype))
