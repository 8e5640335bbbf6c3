"""What other slices may import from monitoring."""

from boucle.monitoring.alerting.hysteresis import NOTHING
from boucle.monitoring.alerting.store import put_memory
from boucle.monitoring.alerts import AlertChange, Expected, Signal, decay_alerts, next_alerts
from boucle.monitoring.calibration import Calibration, calibrated, of_curve
from boucle.monitoring.drift import SHIFT_DAYS, calibrate, column_drift, js, ks, noise_among, psi, ranked, with_verdicts
from boucle.monitoring.estimate import estimate
from boucle.monitoring.history import (
    add_labels,
    alert_memory,
    alerts,
    cursor,
    keep_window,
    kept_profile,
    kept_window,
    labelled,
    labels_known,
    labels_of,
    newest_profiles,
    newest_requests,
    predictions,
    profiles,
    save_alerts,
    series,
    served_ids,
    served_of,
    volumes,
    window_profiles,
    windows,
)
from boucle.monitoring.known_labels import KnownLabels
from boucle.monitoring.labelled_days import newest_labelled_day
from boucle.monitoring.labels import Labels, joined
from boucle.monitoring.performance import by_slice, classes_in, newest_days, performance, with_interval
from boucle.monitoring.retention import expire
from boucle.monitoring.store import put_alerts, put_cursor
from boucle.monitoring.windows import (
    build_window,
    drifted_by_day,
    drifted_columns,
    frames_to_table,
    inputs,
    outputs,
    quarantine_columns,
)
from boucle.serving.log_rows import INPUT, OUTPUT

__all__ = [
    "INPUT",
    "NOTHING",
    "OUTPUT",
    "SHIFT_DAYS",
    "AlertChange",
    "Calibration",
    "Expected",
    "KnownLabels",
    "Labels",
    "Signal",
    "add_labels",
    "alert_memory",
    "alerts",
    "build_window",
    "by_slice",
    "calibrate",
    "calibrated",
    "classes_in",
    "column_drift",
    "cursor",
    "decay_alerts",
    "drifted_by_day",
    "drifted_columns",
    "estimate",
    "expire",
    "frames_to_table",
    "inputs",
    "joined",
    "js",
    "keep_window",
    "kept_profile",
    "kept_window",
    "ks",
    "labelled",
    "labels_known",
    "labels_of",
    "newest_days",
    "newest_labelled_day",
    "newest_profiles",
    "newest_requests",
    "next_alerts",
    "noise_among",
    "of_curve",
    "outputs",
    "performance",
    "predictions",
    "profiles",
    "psi",
    "put_alerts",
    "put_cursor",
    "put_memory",
    "quarantine_columns",
    "ranked",
    "save_alerts",
    "series",
    "served_ids",
    "served_of",
    "volumes",
    "window_profiles",
    "windows",
    "with_interval",
    "with_verdicts",
]
