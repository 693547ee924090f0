"""Watching what is in service: drift, quality on late labels, alerts that persist, triggers that start a retraining.

Monitoring owns the objects `monitors/NAME` and `triggers/NAME` and the records `monitor_points`, `alerts` and the jobs
that triggers put down. It reads predictions and labels through a connection that it is handed. The scheduler, the
command line, the page and delivery call it; it changes no deployment and trains nothing.
"""

from bascule.monitoring.alerts import Alert, read_alerts
from bascule.monitoring.drift import ColumnDrift, WindowCounts, count_windows, drift_share, measure_drift
from bascule.monitoring.measurement import Measurement, measure, release_metrics
from bascule.monitoring.monitors import DriftRules, Monitor, QualityRules, Reference, read_monitor
from bascule.monitoring.points import Point, read_points
from bascule.monitoring.reference import Profile, build_profile, decode_profile, encode_profile
from bascule.monitoring.rules import Rule, read_rule
from bascule.monitoring.triggers import Job, Trigger, TriggerRule, evaluate_trigger, read_trigger

__all__ = [
    "Alert",
    "ColumnDrift",
    "DriftRules",
    "Job",
    "Measurement",
    "Monitor",
    "Point",
    "Profile",
    "QualityRules",
    "Reference",
    "Rule",
    "Trigger",
    "TriggerRule",
    "WindowCounts",
    "build_profile",
    "count_windows",
    "decode_profile",
    "drift_share",
    "encode_profile",
    "evaluate_trigger",
    "measure",
    "measure_drift",
    "read_alerts",
    "read_monitor",
    "read_points",
    "read_rule",
    "read_trigger",
    "release_metrics",
]
