from __future__ import annotations

import os
from pathlib import Path

import pytest

from emca.errors import UserError
from runtime.media.sources import find_sources, output_names, unused


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.png", "a/b/2.JPG", "a/3.png", "c.png", "a/v.mp4", "a/notes.txt", "0"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


def test_files_folders_and_globs_each_once(tree):
    found = find_sources(["c.png", "a", "*.png", f"{tree}/a/**/2*", "a/b/2.JPG"])
    assert [path.as_posix() for path in found.images] == [
        "c.png",
        "a/1.png",
        "a/3.png",
        "a/b/2.JPG",
    ]
    assert [path.as_posix() for path in found.videos] == ["a/v.mp4"]
    assert len(found) == 5


def test_results_of_an_earlier_run_are_no_input(tree):
    for name in ("1.labels.png", "1.overlay.jpg", "v.overlay.mp4", "v.labels/000000.png"):
        Path("a", name).parent.mkdir(exist_ok=True)
        Path("a", name).touch()
    Path("a/.hidden.png").touch()
    Path("a/folder.mp4").mkdir()
    Path("a/.cache").mkdir()
    Path("a/.cache/icon.png").touch()
    assert len(find_sources(["a"])) == 4


def test_a_folder_that_may_not_be_read_is_named_and_the_others_are_searched(tree, monkeypatch):
    scandir = os.scandir  # root may read everything

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_sources(["a"])
    assert found.troubles == ["a/b: Permission denied; check the permissions"]
    assert [path.name for path in found.images] == ["1.png", "3.png"]
    assert len(found) == 4
    assert find_sources(["a/b"]).troubles == found.troubles


def test_linked_folders_are_searched_once(tree):
    Path("linked").mkdir()
    Path("linked/far").symlink_to(tree / "a")
    Path("linked/again").symlink_to(tree / "linked")
    Path("linked/gone.ts").symlink_to(tree / "gone")
    found = find_sources(["linked"])
    assert [path.as_posix() for path in found.images] == [
        *("linked/far/1.png", "linked/far/3.png", "linked/far/b/2.JPG")
    ]
    assert [path.name for path in found.videos] == ["v.mp4", "gone.ts"]


def test_code_is_told_from_video(tree):
    Path("a/code.ts").write_text("Greeting: string = 'G' + 'G'.repeat(300)\n")
    Path("a/film.ts").write_bytes((b"G" + bytes(187)) * 3)
    assert [path.name for path in find_sources(["a"]).videos] == ["film.ts", "v.mp4"]


def test_numbers_and_addresses_are_live(tree):
    found = find_sources(["0", "rtsp://camera/1", "0", "/dev/null"])
    assert found.live == ["0", "rtsp://camera/1", "/dev/null"]
    assert [path.name for path in find_sources(["./0"]).images] == ["0"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gone.png", r"^gone\.png: no such image or video; give files"),
        ("*.gif", r"^\*\.gif: no such image"),
        ("", "a source is empty, a variable that is not set perhaps"),
        ("/dev/video97", "no such camera"),
        ("empty", r"empty: no image or video in this folder; known are \.jpg"),
    ],
)
def test_what_names_nothing_is_said(tree, word, message):
    Path("empty").mkdir()
    with pytest.raises(UserError, match=message):
        find_sources(["c.png", word])


def test_output_names_never_repeat():
    paths = [Path(p) for p in ("a/x.png", "b/x.jpg", "x-2.png", "y.png", "c/x.png")]
    assert output_names(paths) == ["x", "x-2", "x-2-2", "y", "x-3"]
    assert [unused("x", ["x", "x-2"]), unused("z", ["x"])] == ["x-3", "z"]


def test_globs_pass_over_results_of_an_earlier_run_too(tmp_path):
    for name in ("a.png", "a.labels.png", "a.overlay.jpg"):
        (tmp_path / name).touch()
    assert find_sources([f"{tmp_path}/*.*"]).images == [tmp_path / "a.png"]
