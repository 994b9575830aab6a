"""The pages in a real browser: report and certificate, wide and narrow, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import results
from browser import MISSING, Browser, started

from runtime import certify_html
from runtime.page_html import Panel, Picture
from runtime.pictures import data_uri
from runtime.report_bench import Gallery
from runtime.report_html import page
from runtime.results.finding import find

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

CHECKS = Path(__file__).parent.joinpath("helpers", "page_checks.js").read_text(encoding="utf-8")
DESKTOP, PHONE = (1280, 800), (390, 844)
TINTS = {
    "image": (90, 90, 90),
    "truth": (20, 120, 220),
    "FP32": (220, 30, 30),
    "INT8": (30, 160, 30),
}


def panel(name: str, shade: int = 0) -> Panel:
    """Pictures of one colour each."""
    return Panel(name, [
        Picture(key, data_uri(np.full((300, 400, 3), np.add(rgb, shade), np.uint8)), f"{key}!")
        for key, rgb in TINTS.items()
    ])  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both pages as files."""
    folder = tmp_path_factory.mktemp("pages")
    results.write_all(folder)
    gallery = Gallery([panel("a.png"), panel("b.png", 30)], [0, 1], [("differ", (9, 9, 9))])
    text = page(
        find(folder),
        {folder / "bench.json": gallery},
        title="T",
        command="python -m runtime.report d",
    )
    certificate = certify_html.page(
        results.certificate(),
        palette=[(0, 0, 99)] * 3,
        panels=[panel("a.png")],
        present=[0, 1],
        legend=[("differ", (9, 9, 9))],
    )
    made = {"report": folder / "report.html", "certificate": folder / "certificate.html"}
    made["report"].write_text(text, encoding="utf-8")
    made["certificate"].write_text(certificate, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def report(browser: Browser, pages: dict[str, Path]) -> Browser:
    """The report on a desktop."""
    browser.show(pages["report"], size=DESKTOP)
    return browser


@pytest.mark.parametrize("name", ["report", "certificate"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_fits_and_is_quiet(browser, pages, name, size, dark):
    browser.show(pages[name], size=size, dark=dark, touch=size == PHONE)
    browser.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.log("browser") == []
    assert browser.requests() == [pages[name].as_uri()]
    wide, room = browser.js(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert wide <= room == size[0]
    for check in ("outside", "overlaps", "faint"):
        assert browser.js(f"{CHECKS}\nreturn {check}()") == []
    corner = browser.picture()[2, 2]
    assert (corner.mean() < 60) == dark


def test_a_click_on_a_heading_sorts_numbers_as_numbers(report):
    def column() -> list[str]:
        return report.js("return [...document.querySelectorAll('#formats tbody tr')]"
                         ".slice(0, 3).map((row) => row.cells[2].textContent)")  # fmt: skip

    assert column() == ["100.00", "102.00", "9.00"]
    x, y = report.middle("#formats th:nth-child(3) button")
    report.mouse((x, y), down=True)
    assert column() == ["9.00", "100.00", "102.00"]
    heading = "return document.querySelector('#formats th:nth-child(3)').ariaSort"
    assert report.js(heading) == "ascending"
    report.press("Enter")  # the button has the focus
    assert column() == ["102.00", "100.00", "9.00"]
    assert report.js(heading) == "descending"
    report.mouse(report.middle("#formats th:nth-child(2) button"), down=True)
    assert report.js(heading) is None


def test_gaps_are_sorted_last_in_either_order(report):
    report.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    cells = ("return [...document.querySelectorAll('#formats details tbody tr')]"
             ".map((row) => row.cells[1].textContent)")  # fmt: skip
    for expected in (["35.00", "70.00", "–"], ["70.00", "35.00", "–"]):
        report.mouse(report.middle("#formats details th:nth-child(2) button"), down=True)
        assert report.js(cells) == expected


def test_a_plot_tells_the_value_under_the_pointer(report):
    mark = "#formats svg.plot path.s2.dot"
    report.mouse(report.middle(mark))
    assert report.tip() == "INT8: 9.00 ms, 69.00 % mIoU"
    box = report.js("return document.querySelector('#tip').getBoundingClientRect().toJSON()")
    x, y = report.middle(mark, scroll=False)
    assert box["left"] < x < box["right"]
    assert y - 60 < box["bottom"] < y
    for away in (report.middle("#formats svg.plot", scroll=False), (4, 4)):
        report.mouse((x, y))
        report.mouse(away)
        assert report.tip() == ""


def test_of_neighbours_the_nearest_answers(report):
    x, y = report.middle("#formats svg.plot rect.s1")  # FP32, FP16 and INT8 lie side by side
    report.mouse((x, y))
    assert report.tip() == "sky, FP16: 70.00 IoU in %"
    report.mouse((x, y - 20))
    assert report.tip() == "sky, FP32: 70.00 IoU in %"


def test_a_plot_tells_its_values_to_the_keyboard(report):
    report.js("document.querySelector('#formats svg.plot').focus()")
    report.press("Home")
    assert report.tip() == "FP32: 100.00 ms, 70.00 % mIoU"
    report.press("Right", "Right")
    assert report.tip() == "INT8: 9.00 ms, 69.00 % mIoU"
    report.press("Escape")
    assert report.tip() == ""


def test_a_plot_tells_its_values_to_a_finger(browser, pages):
    browser.show(pages["report"], size=PHONE, touch=True)
    spot = browser.middle("#formats svg.plot path.s2.dot")
    browser.mouse(spot, down=True, kind="touch")
    assert browser.tip() == "INT8: 9.00 ms, 69.00 % mIoU"
    browser.mouse((2, spot[1]), down=True, kind="touch")
    assert browser.tip() == ""


def test_the_slider_follows_the_mouse_and_reveals_the_left_picture(report):
    box = report.box(".stage")
    middle = box["top"] + 20
    at = lambda share: box["left"] + share * box["width"]  # noqa: E731
    assert seam(report) == pytest.approx(0.5, abs=0.01)
    report.mouse((at(0.5), middle), (at(0.3), middle), (at(0.2), middle), down=True)
    assert seam(report) == pytest.approx(0.2, abs=0.01)
    report.mouse((at(0.9), middle))  # not held: nothing moves
    assert seam(report) == pytest.approx(0.2, abs=0.01)
    shot = report.picture()
    for share, name in ((0.1, "FP32"), (0.3, "INT8"), (0.8, "INT8")):
        np.testing.assert_allclose(shot[round(middle), round(at(share))], TINTS[name], atol=6)


def test_the_slider_follows_the_keyboard_and_pictures_can_be_chosen(report):
    box = report.box(".stage")
    report.js("document.querySelector('.stage input').focus()")
    report.press("Home", *["Right"] * 10)
    assert seam(report) == pytest.approx(0.1, abs=0.01)
    report.js("""const [left] = document.querySelectorAll('select');
        left.value = 'truth'; left.dispatchEvent(new Event('change'));""")
    report.press("End")
    assert seam(report) == 1
    spot = round(box["top"] + 20), round(box["left"] + box["width"] / 2)
    np.testing.assert_allclose(report.picture()[spot], TINTS["truth"], atol=6)
    assert (
        report.js("return document.querySelector('.told').textContent")
        == "truth: truth! · INT8: INT8!"
    )
    report.mouse(report.middle(".samples button:nth-child(2)", scroll=False), down=True)
    np.testing.assert_allclose(report.picture()[spot], np.add(TINTS["truth"], 30), atol=6)
    alt = "return document.querySelector('.stage img').alt"
    assert report.js(alt) == "b.png: INT8"


def test_the_slider_follows_a_finger(browser, pages):
    browser.show(pages["certificate"], size=PHONE, touch=True)
    box = browser.box(".stage")
    at = lambda share: (box["left"] + share * box["width"], box["top"] + 30)  # noqa: E731
    browser.mouse(at(0.5), at(0.6), at(0.75), down=True, kind="touch")
    assert seam(browser) == pytest.approx(0.75, abs=0.02)
    assert browser.log("browser") == []


def test_without_a_script_everything_is_there(browser, pages, tmp_path):
    text = pages["report"].read_text(encoding="utf-8")
    start, end = text.index("<script>"), text.index("</script>")
    bare = tmp_path / "bare.html"
    bare.write_text(text[:start] + text[end + len("</script>") :], encoding="utf-8")
    browser.show(bare, size=DESKTOP)
    assert browser.js("return document.querySelectorAll('.strip img').length") == 8
    assert browser.js("return document.querySelector('.strip img').checkVisibility()")
    assert browser.js("return document.querySelector('#formats svg title').textContent").startswith(
        "FP32: "
    )
    assert browser.log("browser") == []


def test_a_script_of_others_may_not_run(browser, pages, tmp_path):
    text = pages["report"].read_text(encoding="utf-8")
    other = tmp_path / "other.html"
    other.write_text(text.replace("<main>", "<main><script>document.title = 'theirs'</script>"))
    browser.show(other, size=DESKTOP)
    assert browser.js("return document.title") == "T"


def seam(browser: Browser) -> float:
    """Where the two pictures meet: the visible share of the upper one, from its clip."""
    clip = browser.js(
        "return getComputedStyle(document.querySelector('.stage img + img')).clipPath"
    )
    found = re.fullmatch(r"inset\(0px ([\d.]+)% 0px 0px\)|inset\(0px\)", clip)
    assert found, clip
    return 1 - float(found[1] or 0) / 100
