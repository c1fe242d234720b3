"""A bundle small enough to be made, deployed and proven many times."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FRAME_WH = (128, 64)


class Brightest:
    """A bundle that sees whole frames, made by hand: its score is the grey level, its decision the brightest pixel."""

    @staticmethod
    def graph(*, spoil: int = 0, decision_name: str = "decision_u8") -> bytes:
        """Scores and decision of the frame; ``spoil`` moves the decision by some levels."""
        width, height = FRAME_WH
        given = helper.make_tensor_value_info("tiles_u8", TensorProto.UINT8, ["N", height, width, 1])
        scores = helper.make_tensor_value_info("scores_u8", TensorProto.UINT8, ["N", 1, height, width])
        decision = helper.make_tensor_value_info(decision_name, TensorProto.UINT8, ["N", 1])
        nodes = [
            helper.make_node("Transpose", ["tiles_u8"], ["scores_u8"], perm=[0, 3, 1, 2]),
            helper.make_node("ReduceMax", ["tiles_u8", "axes"], ["brightest"], keepdims=0),
            helper.make_node("Cast", ["brightest"], ["wide"], to=TensorProto.INT32),
            helper.make_node("Add", ["wide", "spoil"], ["moved"]),
            helper.make_node("Cast", ["moved"], [decision_name], to=TensorProto.UINT8),
        ]
        constants = [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(np.array([spoil], np.int32), "spoil"),
        ]
        body = helper.make_graph(nodes, "g", [given], [scores, decision], constants)
        model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    @staticmethod
    def manifest(data: bytes) -> dict[str, Any]:
        """What the bundle says of itself, as plain data that a test may change."""
        return {
            "schema_version": 1,
            "name": "brightest",
            "version": "1.0",
            "created": "2026-01-01T00:00:00Z",
            "provenance": {"model": "by hand"},
            "input": {"channels": 1, "colour_order": "GREY", "mean": [0.0], "std": [255.0]},
            "tiling": {
                "mode": "whole",
                "stride_px": 8,
                "halo_px": 0,
                "halo_error": 0.0,
                "tile_px": max(FRAME_WH),
                "frame_wh": list(FRAME_WH),
            },
            "output": {
                "classes": [{"name": "spot", "threshold": 0.6, "threshold_low": 0.6}],
                "decision": {"threshold": 0.8},
            },
            "graphs": {
                "fp32": {
                    "file": "model.fp32.onnx",
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "parity": {"tiles": 1, "max_abs": 0.0, "mask_iou": 1.0, "decision_max_abs": 0.0},
                    "tolerance": {"max_levels": 2, "mean_levels": 0.05},
                }
            },
            "golden": {"file": "golden.npz", "tiles": 2, "tile_px": max(FRAME_WH), "tile_wh": list(FRAME_WH)},
        }

    @staticmethod
    def golden(**changes: np.ndarray[Any, Any]) -> bytes:
        width, height = FRAME_WH
        tiles = np.random.default_rng(0).integers(0, 200, (2, height, width, 1), np.uint8)
        arrays = {"tiles": tiles, "scores": tiles.transpose(0, 3, 1, 2), "decisions": tiles.max(axis=(1, 2)), **changes}
        stream = io.BytesIO()
        np.savez_compressed(stream, **{name: np.ascontiguousarray(array) for name, array in arrays.items()})
        return stream.getvalue()

    @classmethod
    def write(
        cls, folder: Path, *, model: bytes | None = None, said: dict[str, Any] | None = None, proof: bytes | None = None
    ) -> Path:
        """Write the bundle, sealed; any of its parts may be another one."""
        data = cls.graph() if model is None else model
        files = {
            "model.fp32.onnx": data,
            "golden.npz": cls.golden() if proof is None else proof,
            "manifest.json": json.dumps(cls.manifest(data) if said is None else said).encode(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
        (folder / "SHA256SUMS").write_text("".join(lines))
        return folder
