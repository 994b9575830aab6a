from runtime.plot_points import Point, coordinates, pareto_front, steps


def test_the_front_is_what_nothing_beats():
    fast, exact = Point("fast", "INT8", 10, 60), Point("exact", "FP32", 90, 70)
    middle, equal = Point("middle", "INT8", 40, 65), Point("equal", "FP32", 40, 65)
    beaten = [Point("slow", "FP32", 95, 70), Point("poor", "FP16", 41, 64.9)]
    front = pareto_front([exact, *beaten, middle, equal, fast])
    assert front == [fast, middle, exact]
    assert coordinates(front) == ([10, 40, 90], [60, 65, 70])
    assert pareto_front([exact]) == [exact]


def test_steps_go_across_then_up():
    front = [Point("a", "", 10, 60), Point("b", "", 40, 65), Point("c", "", 90, 70)]
    assert steps(front) == [(10, 60), (40, 60), (40, 65), (90, 65), (90, 70)]
    assert steps(front[:1]) == [(10, 60)]
