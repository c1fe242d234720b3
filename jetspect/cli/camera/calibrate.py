"""``jetspect camera calibrate``: how large things are that a camera sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.cli.camera.board import CharucoOption, DictionaryOption, MarkerOption, make_board
from jetspect.cli.camera.boards import Boards, boards_before_camera, boards_in_files
from jetspect.cli.camera.source import GigeOption, GStreamerOption, VideoOption, ViewOption, open_camera
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.errors import InputError
from jetspect.runtime.optics.board import Board
from jetspect.runtime.optics.distance import Span, pitch_of
from jetspect.runtime.optics.picture import draw_solution
from jetspect.runtime.optics.pinhole import Lens
from jetspect.runtime.optics.quality import Quality, assess
from jetspect.runtime.optics.solve import Solution, solve
from jetspect.runtime.sources.recorder import write_png

_WORST = 5


def calibrate(
    what: Annotated[
        list[Path] | None,
        typer.Argument(help="Images of a board, folders of them, or one station file (TOML).", show_default=False),
    ] = None,
    squares: Annotated[str | None, typer.Option(help="Squares of the board, the outermost counted, like 9x6.")] = None,
    square_mm: Annotated[float | None, typer.Option(help="Edge of one square in mm, measured on the board.")] = None,
    charuco: CharucoOption = False,
    marker_mm: MarkerOption = None,
    dictionary: DictionaryOption = "DICT_4X4_250",
    plane: Annotated[
        Path | None, typer.Option(help="Image with the board on the part; default: the last one, live the first one.")
    ] = None,
    lens: Annotated[
        str, typer.Option(help="standard, rational (strong lenses) or none; auto: none for one image, else standard.")
    ] = "auto",
    max_error_px: Annotated[float, typer.Option(min=0.01, help="Error at the corners that is allowed, RMS.")] = 0.5,
    out: Annotated[Path, typer.Option(help="View to write; an older one is replaced.")] = Path("view.json"),
    picture: Annotated[Path | None, typer.Option(help="PNG with corners and errors.")] = None,
    points: Annotated[
        list[str] | None, typer.Option(help="Instead of a board: two points, X1,Y1,X2,Y2 in px. May be repeated.")
    ] = None,
    distance_mm: Annotated[
        list[float] | None, typer.Option(help="How far they are apart, in mm; one for all, or one for each --points.")
    ] = None,
    views: Annotated[int, typer.Option(min=1, max=200, help="Live: views to take.")] = 12,
    keep: Annotated[Path | None, typer.Option(help="Live: folder for the images of the views.")] = None,
    gige: GigeOption = None,
    gstreamer: GStreamerOption = None,
    video: VideoOption = None,
    which: ViewOption = None,
    as_json: JsonOption = False,
) -> None:
    """Calibrate a view, so that defects are measured in mm: set [optics] view to the file that this writes.

    From images of a board (or live: lay it on the part, then hold it still in other positions, turned by 15 to 40 degrees):
    several give the lens and the plane of the part, one alone the plane. From a known distance: the pixel pitch.

    Example: jetspect camera calibrate boards/ --plane on-part.png --squares 9x6 --square-mm 5
    """
    if points or distance_mm:
        if what or squares or square_mm or gige or gstreamer or video:
            raise InputError("--points and --distance-mm stand alone; a board needs neither")
        _from_points(points or [], distance_mm or [], as_json=as_json)
        return
    if squares is None or square_mm is None:
        raise InputError(
            "name the board with --squares 9x6 --square-mm 5, or a distance with --points and --distance-mm"
        )
    if picture is not None and picture.suffix.lower() != ".png":
        raise InputError(f"--picture {picture} must end in .png")
    if lens not in ("auto", *get_args(Lens)):
        raise InputError(f"--lens is auto, {', '.join(get_args(Lens))}; got {lens!r}")
    board = make_board(squares, square_mm, charuco, marker_mm, dictionary)
    boards = _look(what or [], plane, board, views, keep, (gige, gstreamer, video, which))
    chosen = cast(Lens, lens if lens != "auto" else "none" if len(boards.seen) == 1 else "standard")
    solution = solve(boards.seen, boards.plane, board, lens=chosen, max_error_px=max_error_px)
    quality = assess(solution)
    solution.view.save(out)
    if picture is not None:
        write_png(draw_solution(boards.image, solution), picture)
    if as_json:
        print_json(_answer(out, solution, quality))
    else:
        _tell(out, solution, quality)


def _look(
    what: list[Path],
    plane: Path | None,
    board: Board,
    views: int,
    keep: Path | None,
    camera: tuple[str | None, str | None, str | None, str | None],
) -> Boards:
    station = what[0] if len(what) == 1 and what[0].suffix.lower() == ".toml" else None
    if station is None and not any(camera):
        if keep is not None:
            raise InputError("--keep is for a camera; the images are there already")
        if not what and plane is None:
            raise InputError(
                "name images of the board, a folder of them, a station file, or a camera (--gige, --video, ...)"
            )
        return boards_in_files(what, plane, board)
    if plane is not None:
        raise InputError("--plane is for images; before a camera the first view is the one on the part")
    if what and station is None:
        raise InputError("name images or a camera, not both")
    with open_camera(station, *camera) as source:
        return boards_before_camera(source, board, views, keep)


def _answer(out: Path, solution: Solution, quality: Quality) -> dict[str, object]:
    return {
        "view": str(out),
        "lens": len(solution.view.distortion),
        "images": len(solution.seen),
        **solution.view.fit.model_dump(include={"reprojection_px", "plane_rms_mm", "plane_max_mm"}),
        "pitch_mm": quality.pitch_mm,
        "area_wrong_without": quality.area_wrong,
        "warnings": quality.warnings,
    }


def _tell(out: Path, solution: Solution, quality: Quality) -> None:
    fit, view = solution.view.fit, solution.view
    corners = sum(len(s.corners_px) for s in solution.seen)
    lens = f"lens with {len(view.distortion)} coefficients" if view.camera_matrix is not None else "no lens"
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("from", f"{len(solution.seen)} image{'s' * (len(solution.seen) > 1)}, {corners} corners, {lens}")
    table.add_row("error", f"{fit.reprojection_px:.3f} px RMS at the corners")
    table.add_row(
        "on the part", f"{fit.plane_rms_mm:.4f} mm RMS, {fit.plane_max_mm:.4f} mm at most, in {fit.plane_image}"
    )
    for place, pitch in quality.pitch_mm.items():
        table.add_row(f"pixel, {place}", f"{pitch:.5f} mm")
    low, high = quality.area_wrong
    table.add_row("without it", f"the centre's pitch all over the frame makes areas wrong by {low:+.1%} to {high:+.1%}")
    console.print(table)
    worst = sorted(zip(solution.errors_px, (s.name for s in solution.seen), strict=True), reverse=True)[:_WORST]
    if len(worst) > 1:
        console.print("worst images: " + ", ".join(f"{name} {error:.3f} px" for error, name in worst), markup=False)
    for warning in quality.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
    console.print(f'{out}: for the station file: [optics] view = "{out}"', markup=False)


def _from_points(points: list[str], distances_mm: list[float], *, as_json: bool) -> None:
    if not points or len(distances_mm) not in (1, len(points)):
        raise InputError(
            f"--points and --distance-mm belong together, one distance for all or one for each; got {len(points)} and "
            f"{len(distances_mm)}"
        )
    every = distances_mm if len(distances_mm) == len(points) else distances_mm * len(points)
    spans = [Span(*_pair(text), distance_mm=mm) for text, mm in zip(points, every, strict=True)]
    pitch = pitch_of(spans)
    if as_json:
        print_json(
            {
                "pixel_pitch_mm": pitch.pixel_pitch_mm,
                "spans": [{"length_px": s.length_px, "pitch_mm": s.pitch_mm} for s in spans],
                "spread": pitch.spread,
                "reading": pitch.reading,
                "warnings": pitch.warnings,
            }
        )
        return
    for span in spans:
        console.print(f"{span.distance_mm:g} mm over {span.length_px:.1f} px: {span.pitch_mm:.6f} mm")
    console.print(f"spread {pitch.spread:.2%}; reading the points leaves {pitch.reading:.2%} open")
    for warning in pitch.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
    console.print(f"for the station file: [optics] pixel_pitch_mm = {pitch.pixel_pitch_mm:.6g}", markup=False)


def _pair(text: str) -> tuple[tuple[float, float], tuple[float, float]]:
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--points is X1,Y1,X2,Y2 in px, like 120,80,2210,85; got {text!r}") from None
    return (x1, y1), (x2, y2)
