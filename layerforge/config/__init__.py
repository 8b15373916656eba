"""Configurations: YAML read strictly, with a place and a suggestion for everything that is wrong."""

from __future__ import annotations

from .document import Config
from .sections import CheckpointSection, Every, SolverSection, Top, TrainSection
from .yaml_dump import dump_yaml
from .yaml_file import load_yaml, parse_value, parse_yaml

__all__ = [
    "CheckpointSection",
    "Config",
    "Every",
    "SolverSection",
    "Top",
    "TrainSection",
    "dump_yaml",
    "load_yaml",
    "parse_value",
    "parse_yaml",
]
