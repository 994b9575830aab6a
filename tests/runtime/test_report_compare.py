import copy

from results import compare

from runtime.report_compare import cards, facts, headline


def test_headline_names_the_fastest_and_the_best():
    assert headline(compare()) == (
        "Model-number-0 INT8 is the fastest with 40.0 ms, "
        "Model-number-3 FP32 the most accurate with 65.0 % mIoU"
    )
    unknown = copy.deepcopy(compare())
    for row in unknown["rows"]:
        row["miou"] = row["iou"] = None
    assert headline(unknown) == "Model-number-0 INT8 is the fastest with 40.0 ms"
    assert "Pareto" not in cards(unknown)
    assert "4 models · openvino on a <fast> one" in facts(compare())


def test_the_front_is_bold_and_the_costs_are_told():
    content = compare(2)
    content["rows"][2]["miou"] = 0.4  # slower and worse than the first model
    content["notes"] = ["/ first: a column of the text table.", "Mind."]
    text = cards(content)
    assert "<strong>50.00</strong>" in text
    assert "<strong>40.00</strong>" not in text
    for part in ("Mind.", "2.50×", "Model-number-1 INT8: 80.00 ms", "64×48", "1.50", "backbone"):
        assert part in text
    assert "/ first" not in text
    assert ">other<" not in text  # no model has any there


def test_engines_without_counts_have_dashes():
    content = compare(1)
    content["models"][0] |= {"gflops": None, "params": None}
    content["rows"][0] |= {"ratio_to_fp32": None, "delta_miou": None, "agreement": None}
    assert cards(content).count("<td>–</td>") == 5


def test_names_of_many_models_stand_in_a_legend():
    few, many = cards(compare(6)), cards(compare(7))
    assert few.count('<text class="name"') == 6
    assert '<text class="name"' not in many
    assert many.count("</i>Model-number-6</span>") == 1
