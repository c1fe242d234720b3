"""HTML reports: one file, no script, pictures beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jetspect.errors import MissingDependencyError
from jetspect.runtime.publishing.result_message import ResultMessage

COLOURS = {
    "engine": "#2f6f9f",
    "gather": "#e69f00",
    "scatter": "#56b4e9",
    "postprocess": "#009e73",
    "checks": "#cc79a7",
    "verdict": "#d55e00",
    "foreground": "#f0e442",
}


def write_report(path: Path, summary: dict[str, Any], results: Sequence[ResultMessage], images: Path) -> Path:
    """Write the report of a run next to its pictures."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependencyError("jinja2", "HTML reports", "pip install 'jetspect[demo]'") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    folder = os.path.relpath(images, path.parent)
    cards = [_card(message, folder) for message in results]
    page = environment.get_template("run.html").render(summary=summary, cards=cards, colours=COLOURS)
    path.write_text(page)
    return path


def _card(message: ResultMessage, folder: str) -> dict[str, Any]:
    pictures = {"overlay": "", "crops": []}
    crops: list[str] = []
    for ref in message.evidence:
        if ref.kind == "overlay":
            pictures["overlay"] = f"{folder}/{ref.uri}"
        else:
            crops.append(f"{folder}/{ref.uri}")
    return {"message": message, "overlay": pictures["overlay"], "crops": crops}
