from itertools import pairwise

import cv2
import numpy as np

from runtime.sample_drive import FRAMES, HEIGHT, STREETS, WIDTH, drive, main
from segdata.preprocess import read_image


def test_the_drive_moves_within_a_street_and_changes_between_them(tmp_path, failing):
    frames = list(drive())
    assert {frame.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    few = [frame[::8, ::8].astype(int) for frame in frames]
    steps = [np.abs(a - b).mean() for a, b in pairwise(few)]
    assert min(steps) > 0
    cuts = range(FRAMES - 1, STREETS * FRAMES - 1, FRAMES)
    assert min(steps[k] for k in cuts) > 2 * np.median(steps)

    main([str(tmp_path / "new")])
    clip = cv2.VideoCapture(str(tmp_path / "new" / "drive.mp4"))
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == STREETS * FRAMES
    assert clip.get(cv2.CAP_PROP_FPS) == 25
    photo = read_image(tmp_path / "new" / "street.jpg")
    assert np.abs(photo.astype(int) - frames[0]).mean() < 5
    assert "is a file; give a folder" in failing(main, tmp_path / "new" / "street.jpg")
