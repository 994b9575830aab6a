import torch

from train.sources.keymap import convert


def test_every_tensor_is_accounted_for_and_the_first_rule_wins():
    state = {name: torch.full((2,), float(i)) for i, name in enumerate(
        ["head.bias", "old.3.weight", "old.4.qk", "counter", "alien", "old.4.weight.more"]
    )}  # fmt: skip
    conversion = convert(
        state,
        [
            (r"counter|alie", None),
            (r"head\.bias", "head.bias"),
            (r"old\.(\d)\.weight", r"new.\1.weight"),
            (r"old\.(\d)\.(\w)(\w)", lambda m, x: {f"{m[2]}.{m[1]}": x[:1], f"{m[3]}": x[1:]}),
            (r"old\..*weight", "never"),
        ],
    )
    assert conversion.used == ["head.bias"]
    assert conversion.converted == {"old.3.weight": ["new.3.weight"], "old.4.qk": ["q.4", "k"]}
    assert conversion.unneeded == ["counter"]
    assert conversion.left_over == ["alien", "old.4.weight.more"]  # whole names match, not parts
    assert list(conversion.tensors) == ["head.bias", "new.3.weight", "q.4", "k"]
    assert conversion.tensors["new.3.weight"].tolist() == [1, 1]
    assert conversion.tensors["q.4"].tolist() == [2]
    assert conversion.origin("k") == "old.4.qk"
    assert conversion.origin("head.bias") == "head.bias"


def test_the_account_names_what_is_wrong_and_only_that():
    fine = convert({"a": torch.ones(1), "n": torch.ones(1)}, [("a", "b"), ("n", None)])
    assert fine.summary() == "0 tensors used, 1 converted, 1 not needed, 0 left over, 0 missing"
    wrong = convert({f"x{i}": torch.ones(1) for i in range(4)}, [])
    assert wrong.summary(["m1", "m2"]) == (
        "0 tensors used, 0 converted, 0 not needed, 4 left over (x0, x1, x2, …), 2 missing (m1, m2)"
    )
