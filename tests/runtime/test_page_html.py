import base64
import hashlib

from html_pages import check_page

from runtime.page_html import (
    Column,
    Html,
    Panel,
    Picture,
    colours,
    document,
    machine_facts,
    made_with,
    number,
    section,
    signed,
    strips,
    table,
    tiles,
)


def test_parts_make_a_whole_page_and_escape_what_they_are_given():
    facts = machine_facts({"cpu": "a <b>", "cores": 2, "os": "L", "python": "3"}, threads=0)
    panel = Panel("<0>.png", [Picture("truth & more", "data:x", "<97 %>")])
    text = document(
        "T & t",
        [
            tiles([("mIoU <x>", "61 %")]),
            section("S & s", colours(["sky", "<car>"], [(1, 2, 3), (4, 5, 6)], [1])),
            strips([panel], left="truth & more", right="INT8"),
            made_with("python -m a <b>", facts),
        ],
    )
    check_page(text)
    for part in (
        *("<title>T &amp; t</title>", "mIoU &lt;x&gt;", "<h2>S &amp; s</h2>", "&lt;0&gt;.png"),
        *("rgb(4,5,6)", "&lt;car&gt;", "truth &amp; more", "&lt;97 %&gt;", "a &lt;b&gt;"),
    ):
        assert part in text
    assert "rgb(1,2,3)" not in text


def test_facts_of_the_machine():
    known = {"cpu": "c", "cores": 2, "os": "L", "python": "3"}
    assert machine_facts(known, 0)["threads"] == "every core"
    assert machine_facts(known, 3)["threads"] == "3"
    assert machine_facts(known, 0)["memory"] == "unknown"
    full = machine_facts(known | {"memory_gb": 8, "gpu": "T4"}, 0)
    assert (full["memory"], full["GPU"]) == ("8 GB", "T4")


def test_numbers_have_a_true_minus_and_gaps_a_dash():
    assert number(-0.5, "{:+.1f}", 10) == "−5.0"
    assert number(None, "{:.1f}") == "–"
    assert signed(-0.001) == "+0.00"
    assert signed(None) == "–"


def test_tables_escape_text_but_not_html():
    text = table(
        [Column("name", text=True), Column("a & b", wide=True)],
        [["<x>", Html("<b>1</b>")]],
        caption="what & why",
    )
    for part in (
        *('<caption class="hidden">what &amp; why</caption>', "&lt;x&gt;</th>", "a &amp; b</th>"),
        *('<td class="wide"><b>1</b></td>', '<table class="sort">'),
    ):
        assert part in text
    assert 'class="sort"' not in table([Column("n")], [["1"]], caption="c", sort=False)


def test_the_policy_names_the_very_script_of_the_page():
    text = document("t", [])
    script = text[text.index("<script>") + 8 : text.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text
