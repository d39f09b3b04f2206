"""Drift monitoring: live traffic compared with the profile of the training data, from features without texts."""

from reviews_parsing.monitor.drift import FALSE_ALARM_RATE, MIN_EFFECT, DriftResult, FeatureDrift, detect_drift
from reviews_parsing.monitor.features import FeatureExtractor, Features
from reviews_parsing.monitor.profile import Profile
from reviews_parsing.monitor.quintiles import Quintiles
from reviews_parsing.monitor.report import write_report
from reviews_parsing.monitor.traffic import TrafficWindow, read_traffic, write_traffic

__all__ = [
    "FALSE_ALARM_RATE",
    "MIN_EFFECT",
    "DriftResult",
    "FeatureDrift",
    "FeatureExtractor",
    "Features",
    "Profile",
    "Quintiles",
    "TrafficWindow",
    "detect_drift",
    "read_traffic",
    "write_report",
    "write_traffic",
]
