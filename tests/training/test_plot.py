from __future__ import annotations

from pathlib import Path

import cv2

from jetspect.training.plot import plot_log

LOG = """step,seconds,learning_rate,loss,iou,iou_mean,threshold
10,1.0,0.003,0.5,0.2,0.1,0.5
20,2.0,0.001,0.3,0.4,0.3,0.5
"""


def test_a_log_becomes_a_picture_with_its_curves(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    plot_log(tmp_path / "log.csv", tmp_path / "log.png")
    picture = cv2.imread(str(tmp_path / "log.png"))
    assert picture is not None
    pixels = picture.reshape(-1, 3)
    for red, green, blue in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):  # pooled and mean IoU
        assert (pixels == (blue, green, red)).all(axis=1).sum() > 50
