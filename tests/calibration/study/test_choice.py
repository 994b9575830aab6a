"""The search on a made-up network whose latencies and scores are known exactly."""

import itertools

import pytest

from calibration.study.accuracy import Score
from calibration.study.choice import NOTHING, choose

FP32 = 0.70


class World:
    """Latency and accuracy of any mix of blocks.

    saves: block -> ms that INT8 saves. costs: block -> mIoU that INT8 loses. pairs: what two
    blocks in INT8 save or lose together.
    """

    def __init__(self, saves, costs, together=lambda mix: (0.0, 0.0)):
        self.saves, self.costs, self.together = saves, costs, together
        self.timed, self.scored = [], []

    def latency(self, mixes):
        self.timed += mixes
        return {mix: self.ms(mix) for mix in mixes}

    def score(self, mixes):
        self.scored += mixes
        return {mix: Score(self.miou(mix), 1 - (FP32 - self.miou(mix)), []) for mix in mixes}

    def ms(self, mix):
        return 100 - sum(self.saves[block] for block in mix) - self.together(mix)[0]

    def miou(self, mix):
        return FP32 - sum(self.costs[block] for block in mix) - self.together(mix)[1]

    def choose(self, drop, noise=0.002, worth=0.0):
        return choose(
            list(self.saves),
            self.costs,
            score=self.score,
            latency=self.latency,
            lowest=FP32 - drop,
            noise=lambda: noise,
            worth=worth,
        )

    def optimum(self, drop):
        mixes = (
            frozenset(mix)
            for count in range(len(self.saves) + 1)
            for mix in itertools.combinations(self.saves, count)
        )
        return min((m for m in mixes if self.miou(m) >= FP32 - drop - 1e-12), key=self.ms)


SAVES = {"a": 20.0, "b": 10.0, "c": 5.0, "d": 1.0, "e": -3.0}
COSTS = {"a": 0.001, "b": 0.004, "c": 0.0001, "d": 0.01, "e": 0.0}


@pytest.mark.parametrize("drop", [0.0, 0.0002, 0.0012, 0.0045, 0.0052, 0.02])
def test_the_fastest_mix_within_the_drop_is_found(drop):
    world = World(SAVES, COSTS)
    found = world.choose(drop)
    assert found.best == world.optimum(drop)
    assert found.latencies[found.best] == world.ms(found.best)
    assert found.scores[found.best].miou >= FP32 - drop


def test_a_block_that_saves_no_time_is_left_out_even_where_it_costs_nothing():
    found = World(SAVES, COSTS).choose(1.0)
    assert found.idle == {"e"}
    assert found.best == {"a", "b", "c", "d"}


def test_blocks_that_pay_together_only_stay():
    def together(mix):
        return (10.0, 0.0) if {"x", "y"} <= mix else (0.0, 0.0)

    # alone each costs 4 ms, and without either of them the other is worth nothing
    world = World({"x": -4.0, "y": -4.0, "a": 20.0}, dict.fromkeys("xya", 0.0), together)
    found = world.choose(0.1)
    assert found.saves["x"] == 6
    assert found.best == {"a", "x", "y"}


def test_of_blocks_that_pay_together_one_stays():
    def together(mix):  # any one of them may leave without a loss, but not all
        return (5.0, 0.0) if mix & {"x", "y"} else (0.0, 0.0)

    world = World({"x": 0.0, "y": 0.0, "a": 20.0}, dict.fromkeys("xya", 0.0), together)
    found = world.choose(0.1)
    assert len(found.idle) == 1
    assert world.ms(found.best) == 75


def test_many_that_save_little_stay_and_those_that_cost_time_leave():
    saves = {"a": 20.0, **{f"s{k}": 0.1 for k in range(6)}, **{f"c{k}": -0.4 for k in range(2)}}
    world = World(saves, dict.fromkeys(saves, 0.0))
    found = world.choose(0.1, noise=0.003)
    assert found.margin > 0.1  # none of the small ones can be told alone
    assert {"c0", "c1"} <= found.idle
    assert world.ms(found.best) <= 1.003 * world.ms(world.optimum(0.1))


def test_what_left_before_the_culprit_comes_back():
    # By its harm alone "b" leaves first, but it is "c" that does the damage among others.
    def together(mix):
        return (0.0, 0.05) if {"a", "c"} <= mix else (0.0, 0.0)

    costs = {"a": 0.001, "b": 0.002, "c": 0.0005}
    world = World({"a": 20.0, "b": 10.0, "c": 5.0}, costs, together)
    found = world.choose(0.004)
    assert found.best == world.optimum(0.004) == {"a", "b"}


def test_fp16_wins_where_int8_is_slower():
    found = World(dict.fromkeys("abc", -2.0), dict.fromkeys("abc", 0.0)).choose(0.5)
    assert found.best == NOTHING


def test_fp16_wins_where_the_gain_is_noise():
    found = World(dict.fromkeys("abc", 0.3), dict.fromkeys("abc", 0.0)).choose(0.5, noise=0.02)
    assert found.best == NOTHING


def test_fp16_wins_where_the_gain_is_not_worth_it():
    world = World(dict.fromkeys("abc", 3.0), dict.fromkeys("abc", 0.0))
    assert world.choose(0.5, worth=0.1).best == NOTHING
    assert world.choose(0.5, worth=0.08).best == {"a", "b", "c"}


def test_no_mix_may_be_accurate_enough():
    def together(mix):
        return 0.0, 0.01  # of FP16 itself

    found = World(SAVES, COSTS, together).choose(0.005)
    assert found.best is None
    assert found.scores[NOTHING].miou == pytest.approx(FP32 - 0.01)


def test_the_path_leads_from_all_that_pays_to_nothing():
    world = World(SAVES, COSTS)
    found = world.choose(0.0012)
    assert found.path[0] == {"a", "b", "c", "d"}
    assert found.path[-1] == NOTHING
    assert all(len(a - b) == 1 and b < a for a, b in itertools.pairwise(found.path))
    assert found.path[1] == {"a", "b", "c"}  # "d" harms most for the least time
    assert len(set(world.scored)) == len(world.scored)
