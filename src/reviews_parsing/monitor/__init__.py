"""Whether live traffic is like what the model was trained on, told from numbers; no text is kept."""

from reviews_parsing.monitor.compare import ALARM, EFFECT, Change, Comparison, compare
from reviews_parsing.monitor.numbers import Gauge
from reviews_parsing.monitor.profile import Profile, measure
from reviews_parsing.monitor.report import write_report
from reviews_parsing.monitor.traffic import Window, read, write

__all__ = [
    "ALARM",
    "EFFECT",
    "Change",
    "Comparison",
    "Gauge",
    "Profile",
    "Window",
    "compare",
    "measure",
    "read",
    "write",
    "write_report",
]
