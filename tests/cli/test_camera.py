from __future__ import annotations

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from board_views import BOARD, POSES, TRUTH
from commands import jetspect
from rich.console import Console

from jetspect.cli.camera import focus
from jetspect.runtime.optics.focus import look_at
from jetspect.runtime.optics.view import load_view
from jetspect.runtime.sources.synthetic import render_part

BOARD_OPTIONS = ("--squares", "12x9", "--square-mm", 6)
PLAYING = (
    "videotestsrc pattern=smpte num-buffers=5 ! video/x-raw,width=320,height=240 ! videoconvert ! appsink sync=false"
)


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of a board; the last one lies on the part."""
    folder = tmp_path_factory.mktemp("boards")
    for n, pose in enumerate(POSES):
        cv2.imwrite(str(folder / f"{n}.png"), TRUTH.picture(BOARD, pose, n))
    return folder


def station(tmp_path: Path, **source: Any) -> Path:
    lines = [f"{key} = {json.dumps(value)}" for key, value in source.items()]
    path = tmp_path / "station.toml"
    path.write_text(
        '[station]\nsite = "s"\narea = "a"\nline = "l"\nunit = "u"\n[bundle]\npath = "b"\n[source]\n' + "\n".join(lines)
    )
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A part that comes into focus and goes out of it again."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    part = render_part(100, (320, 240), texture="brushed", defects=2).image
    for n, sigma in enumerate((4.0, 2.0, 0.0, 3.0)):
        cv2.imwrite(str(folder / f"{n}.png"), cv2.GaussianBlur(part, (0, 0), sigma) if sigma else part)
    return folder


def test_images_of_boards_become_a_view(boards: Path, tmp_path: Path) -> None:
    """A folder, and the image of the plane, which lies elsewhere."""
    (tmp_path / "b").mkdir()
    for n in range(5):
        (tmp_path / "b" / f"{n}.png").symlink_to(boards / f"{n}.png")
    out, picture = tmp_path / "view.json", tmp_path / "p.png"
    given = (tmp_path / "b", "--plane", boards / "5.png", *BOARD_OPTIONS)
    done = jetspect("camera", "calibrate", *given, "--out", out, "--picture", picture, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["images"], answer["lens"]) == (6, 5)
    assert answer["reprojection_px"] < 0.06
    assert answer["area_wrong_without"][0] == pytest.approx(-0.41, abs=0.03)
    assert load_view(out).fit.plane_image == "5.png"
    assert cv2.imread(str(picture)).shape == (1200, 1600, 3)


def test_before_a_camera_each_view_counts_once_and_only_when_held_still(boards: Path, tmp_path: Path) -> None:
    """The board on the part for three frames, none, one in passing, another one held still, and the first one again."""
    film = tmp_path / "film"
    film.mkdir()
    for n, board in enumerate([5, 5, 5, None, 0, 1, 1, 5, 5]):
        path = film / f"{n}.png"
        if board is None:
            cv2.imwrite(str(path), np.full((600, 800), 90, np.uint8))
        else:
            path.symlink_to(boards / f"{board}.png")
    config, out, keep = station(tmp_path, kind="folder", path=str(film)), tmp_path / "v.json", tmp_path / "kept"
    plain = (*BOARD_OPTIONS, "--lens", "none", "--max-error-px", 5, "--keep", keep, "--out", out)
    done = jetspect("camera", "calibrate", config, *plain)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("view")] == [
        "view 1 of 12: 88 corners",
        "view 2 of 12: 88 corners",
    ]
    assert load_view(out).fit.plane_image == "1.png"
    assert len(list(keep.glob("*.png"))) == 2
    assert "1 image, 88 corners, no lens" in done.stdout
    assert "warning: one view corrects perspective only" in done.stdout
    assert f'[optics] view = "{out}"' in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name the board with --squares 9x6 --square-mm 5, or a distance"),
        (BOARD_OPTIONS, "name images of the board, a folder of them, a station file, or a camera"),
        (("none.png", *BOARD_OPTIONS), "none.png cannot be read"),
        (("x.png", "--squares", "9by6", "--square-mm", 5), "--squares is ALONGxACROSS, like 9x6; got '9by6'"),
        (("x.png", "--squares", "9x6", "--square-mm", -5), "square_mm: Input should be greater than 0"),
        (("x.png", *BOARD_OPTIONS, "--lens", "fisheye"), "--lens is auto, none, standard, rational; got 'fisheye'"),
        (("x.png", *BOARD_OPTIONS, "--keep", "k"), "--keep is for a camera"),
        (("--points", "1,2,3", "--distance-mm", 5), "--points is X1,Y1,X2,Y2 in px"),
        (("--points", "1,2,3,4"), "belong together, one distance for all or one for each; got 1 and 0"),
        (("x.png", "--points", "1,2,3,4", "--distance-mm", 5), "stand alone"),
        (("a.toml", *BOARD_OPTIONS, "--plane", "p.png"), "--plane is for images"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(tmp_path: Path, words: tuple[object, ...], says: str) -> None:
    done = jetspect("camera", "calibrate", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_image_without_the_board_is_named(boards: Path, pictures: Path, tmp_path: Path) -> None:
    words = (boards / "0.png", pictures / "2.png", *BOARD_OPTIONS, "--out", tmp_path / "v.json")
    done = jetspect("camera", "calibrate", *words)
    assert done.returncode == 2
    assert "was found in" in done.stderr
    assert "2.png; all of it must be in view: leave these images out" in done.stderr
    assert "0.png" not in done.stderr
    assert not (tmp_path / "v.json").exists()


def test_known_distances_give_the_pitch() -> None:
    pairs = ("--points", "0,0,1000,0", "--points", "0,0,0,2000")
    done = jetspect("camera", "calibrate", *pairs, "--distance-mm", 50, "--distance-mm", 100, "--json")
    assert json.loads(done.stdout)["pixel_pitch_mm"] == pytest.approx(0.05)
    told = jetspect("camera", "calibrate", "--points", "0,0,1000,0", "--distance-mm", 50)
    assert "pixel_pitch_mm = 0.05" in told.stdout
    assert "warning: one distance cannot show perspective" in told.stdout


def test_a_board_is_written_at_true_size(tmp_path: Path) -> None:
    words = ("--squares", "9x6", "--square-mm", 5, "--charuco", "--out", tmp_path / "b.svg")
    assert "45 x 30 mm; print at 100 %" in jetspect("camera", "board", *words).stdout
    assert 'width="57mm" height="42mm"' in (tmp_path / "b.svg").read_text()


def test_a_grabbed_frame_has_exactly_the_camera_s_pixels(tmp_path: Path, pictures: Path) -> None:
    config = station(tmp_path, kind="folder", path=str(pictures))
    done = jetspect("camera", "grab", config, "--skip", 2, "--out", tmp_path / "x.png", "--json")
    assert json.loads(done.stdout)["size_wh"] == [320, 240]
    kept, given = (cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (tmp_path / "x.png", pictures / "2.png"))
    assert np.array_equal(kept, given)
    grabbed = jetspect("camera", "grab", "--gstreamer", PLAYING, "--out", tmp_path / "g.png")
    assert "320 x 240 px, colour" in grabbed.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--out", "x.png"), "name one camera: a station file, --gige, --gstreamer or --video"),
        (("--out", "x.png", "--video", "0", "--gige", "1"), "name one camera"),
        (("--out", "x.jpg", "--video", "0"), "must end in .png"),
        (("--out", "x.png", "--video", "no.avi"), "video no.avi does not exist"),
        (("--out", "x.png", "--gstreamer", "nonsense ! appsink"), "nonsense"),
        (("--out", "x.png", "--gstreamer", PLAYING, "--skip", 9), "of the 9 to be skipped came"),
        (("--out", "no/x.png", "--gstreamer", PLAYING), "no/x.png cannot be written: No such file"),
    ],
)
def test_what_cannot_be_grabbed_is_said(tmp_path: Path, words: tuple[object, ...], says: str) -> None:
    done = jetspect("camera", "grab", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_focus_follows_the_lens_and_keeps_the_sharpest_frame(tmp_path: Path, pictures: Path) -> None:
    config = station(tmp_path, kind="folder", path=str(pictures))
    (pictures / "4.png").write_bytes(b"")
    done = jetspect("camera", "focus", config, "--roi", "40,40,200,150", "--save-best", tmp_path / "best.png")
    assert done.returncode == 0, done.stderr
    *lines, lost = map(json.loads, done.stdout.splitlines())
    values = [line["focus"] for line in lines]
    assert values[0] < values[1] < values[2] > values[3]
    assert [line["best"] for line in lines] == [values[0], values[1], values[2], values[2]]
    assert "is empty (0 bytes)" in lost["lost"]
    assert np.array_equal(cv2.imread(str(tmp_path / "best.png")), cv2.imread(str(pictures / "2.png")))


def test_in_a_terminal_focus_shows_a_bar_and_a_histogram(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(focus, "console", Console(file=shown, force_terminal=True, width=100))
    done = jetspect("camera", "focus", station(tmp_path, kind="folder", path=str(pictures)))
    assert (done.returncode, done.stdout) == (0, "")
    for part in ("focus", "best", "18%", "█", "▁", "saturated", "frames/s"):
        assert part in shown.getvalue()


def test_ctrl_c_ends_focus_cleanly(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that never ends, interrupted at its second frame."""
    looks = 0

    def interrupted(*given: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return look_at(*given)

    monkeypatch.setattr(focus, "look_at", interrupted)
    before = signal.getsignal(signal.SIGINT)
    config = station(tmp_path, kind="folder", path=str(pictures), watch=True, poll_s=0.01)
    done = jetspect("camera", "focus", config, "--save-best", tmp_path / "best.png")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert (tmp_path / "best.png").exists()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("roi", ["1,2,3", "0,0,0,5", "-1,0,5,5", "a,b,c,d", "300,0,21,10"])
def test_a_region_outside_the_frame_is_refused(tmp_path: Path, pictures: Path, roi: str) -> None:
    done = jetspect("camera", "focus", station(tmp_path, kind="folder", path=str(pictures)), f"--roi={roi}")
    assert done.returncode == 2
    assert "--roi" in done.stderr


def test_a_recording_is_what_replay_plays(tmp_path: Path, pictures: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    config = station(tmp_path, kind="folder", path=str(pictures))
    done = jetspect("camera", "record", config, "--out", first, "--frames", 3, "--json")
    assert json.loads(done.stdout) == {"folder": str(first), "frames": 3, "lost": 0}
    again = station(tmp_path, kind="replay", path=str(first), speed=1000)
    assert jetspect("camera", "record", again, "--out", second, "--seconds", 60).returncode == 0
    assert (first / "frames.jsonl").read_text() == (second / "frames.jsonl").read_text()
    assert (first / "00000003.png").read_bytes() == (second / "00000003.png").read_bytes()


def test_a_recording_ends_in_time_and_says_what_it_lost(tmp_path: Path, pictures: Path) -> None:
    (pictures / "4.png").write_bytes(b"")
    config = station(tmp_path, kind="folder", path=str(pictures))
    done = jetspect("camera", "record", config, "--out", tmp_path / "r", "--frames", 9)
    assert done.returncode == 1
    assert "4 frames" in done.stdout
    assert "1 frames were lost" in done.stdout
    empty = tmp_path / "empty"
    empty.mkdir()
    waiting = station(tmp_path, kind="folder", path=str(empty), watch=True)
    done = jetspect("camera", "record", waiting, "--out", tmp_path / "w", "--seconds", 0.1)
    assert done.returncode == 2
    assert "no frame came that could be recorded" in done.stderr
    assert "say when to end: --frames N or --seconds S" in jetspect("camera", "record", "--out", "x").stderr


def test_of_several_cameras_one_is_named(tmp_path: Path) -> None:
    place = (
        '[station]\nsite = "s"\narea = "a"\nline = "l"\nunit = "u"\n[bundle]\npath = "b"\n[trigger]\nkind = "camera"\n'
    )
    views = "".join(
        f'[[view]]\nname = "{name}"\n[view.source]\nkind = "synthetic"\nsize_wh = [320, 256]\nrate_hz = 10\n'
        for name in ("top", "side")
    )
    file = tmp_path / "station.toml"
    file.write_text(place + views)
    out = tmp_path / "x.png"
    for words, says in (
        ((), "has several cameras; name one with --view: top, side"),
        (("--view", "front"), "no view 'front'"),
    ):
        done = jetspect("camera", "grab", file, "--out", out, *words)
        assert done.returncode == 2
        assert says in done.stderr
    assert jetspect("camera", "grab", file, "--out", out, "--view", "side").returncode == 0
    assert out.is_file()
    done = jetspect("camera", "grab", "--video", "/dev/video9", "--view", "side", "--out", out)
    assert "--view is for a station file" in done.stderr
