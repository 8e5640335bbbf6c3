"""Serving for the control plane: deploying, the client, the prediction log. It loads no model and no database.

The worker imports `boucle.serving.endpoint` and `boucle.serving.prediction_log` itself.
"""

from boucle.serving.care import broken_parts, broken_traffic, collectable, damaged_log
from boucle.serving.client import InferClient
from boucle.serving.counters import wait_logged
from boucle.serving.deploy import deploy, deploy_canary, deploy_shadow, guard, standstill, withdraw, written_out
from boucle.serving.holding import hold
from boucle.serving.log_parts import parts
from boucle.serving.meter import by_version, of_shadow, p95_ms, since, unanswered
from boucle.serving.prediction_log import (
    LogDamage,
    Position,
    is_closed,
    read_frames,
    read_on,
    segment_file,
    segments_of,
    whole_bytes,
)
from boucle.serving.process import ServerProcess
from boucle.serving.refusals import refusals, refused_since
from boucle.serving.rollout import back_to, is_overruled
from boucle.serving.traffic import (
    check_name,
    counters_folder,
    endpoints,
    log_folder,
    read_ack,
    read_traffic,
    wait_acknowledged,
)

__all__ = [
    "InferClient",
    "LogDamage",
    "Position",
    "ServerProcess",
    "back_to",
    "broken_parts",
    "broken_traffic",
    "by_version",
    "check_name",
    "collectable",
    "counters_folder",
    "damaged_log",
    "deploy",
    "deploy_canary",
    "deploy_shadow",
    "endpoints",
    "guard",
    "hold",
    "is_closed",
    "is_overruled",
    "log_folder",
    "of_shadow",
    "p95_ms",
    "parts",
    "read_ack",
    "read_frames",
    "read_on",
    "read_traffic",
    "refusals",
    "refused_since",
    "segment_file",
    "segments_of",
    "since",
    "standstill",
    "unanswered",
    "wait_acknowledged",
    "wait_logged",
    "whole_bytes",
    "withdraw",
    "written_out",
]
