from results import search, sensitivity
from svg_marks import marks

from runtime import report_studies as studies


def plot(text, number=0):
    drawings = [part[: part.index("</svg>") + 6] for part in text.split("<svg")[1:]]
    return "<svg" + drawings[number]


def test_sensitivity_puts_the_costliest_block_first():
    content = sensitivity()
    assert studies.sensitivity_headline(content) == (
        "INT8 hurts most in pixel decoder mask features: it changes 0.40 % of the labels"
    )
    text = studies.sensitivity(content)
    bars = [mark.find("title").text for mark in marks(plot(text), "rect")]
    assert bars[:2] == [
        "pixel decoder mask features, label agreement: +0.400 points",
        "pixel decoder mask features, mIoU: +0.200 points",
    ]
    gains = [mark.find("title").text for mark in marks(plot(text, 1), "rect")]
    assert gains[1] == "pixel decoder mask features, mIoU: −0.100 points"
    for part in (
        "INT8: 62.80 % mIoU",
        "heads *",
        "* in FP16 unless asked for",
        "by mse on 1 images",
    ):
        assert part in text


def test_a_study_that_was_broken_off_says_so():
    content = sensitivity(done=3)
    del content["blocks"]
    assert "3 of 6 runs are done" in studies.sensitivity_headline(content)
    assert "goes on where it stopped" in studies.sensitivity(content)


def test_search_shows_the_curve_the_choice_and_the_reasons():
    content = search()
    assert studies.search_headline(content) == "2 of 3 blocks in INT8, has −0.20 points"
    text = studies.search(content)
    titles = {title.text for title in marks(plot(text), "title")}
    assert "chosen, 2 blocks in INT8: 19.00 ms, 62.80 % mIoU" in titles
    assert "1 blocks, 1 block in INT8: 30.00 ms, 62.90 % mIoU" in titles
    assert "the lowest mIoU in % allowed: 62.50" in titles
    for part in ("Allowed from 62.50 % on, the red line.", "saves 1.50 ms", "decide the labels"):
        assert part in text


def test_a_plain_format_that_was_chosen_keeps_its_name():
    content = search(chosen=["backbone.0", "backbone.1", "decoder.0"])
    names = [text.text for text in marks(plot(studies.search(content)), "text")]
    assert "INT8, chosen" in names
    nothing = search(chosen=None)
    assert "The star" not in studies.search(nothing)


def test_a_limit_far_below_is_not_drawn():
    text = studies.search(search(max_drop_points=40))
    assert "far below" in text
    assert "allowed:" not in text
