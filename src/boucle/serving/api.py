"""Serving for the control plane: deploying, the client, the prediction log. It loads no model and no database.

The worker imports `boucle.serving.endpoint` and `boucle.serving.prediction_log` itself.
"""

from boucle.serving.care import broken_traffic, collectable, damaged_log
from boucle.serving.client import InferClient
from boucle.serving.deploy import deploy
from boucle.serving.holding import hold
from boucle.serving.prediction_log import LogDamage, Position, read_frames, whole_bytes
from boucle.serving.process import ServerProcess
from boucle.serving.traffic import endpoints, log_folder, read_ack, read_traffic, wait_acknowledged

__all__ = [
    "InferClient",
    "LogDamage",
    "Position",
    "ServerProcess",
    "broken_traffic",
    "collectable",
    "damaged_log",
    "deploy",
    "endpoints",
    "hold",
    "log_folder",
    "read_ack",
    "read_frames",
    "read_traffic",
    "wait_acknowledged",
    "whole_bytes",
]
