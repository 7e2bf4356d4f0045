# SPDX-License-Identifier: Apache-2.0
"""The one typed tree of settings, and the only reader of the configuration file and of the environment.

declaration.py   every setting: type, bounds, unit, default, one sentence
fields.py        the kinds of values a setting may have, and how each is checked
document.py      `config.yaml`: lines, duplicate keys, schema version, migration
sources.py       default < file < environment < database override < command line, and each value's origin
problems.py      what is wrong with a source, in words, with the nearest valid name
alice.py         ALICE's file, in our words
pages.py         the example file and the reference page, made from the declaration
"""

from inglenook.settings.declaration import (
    ImageSettings,
    JobSettings,
    ModelSettings,
    OutgoingSettings,
    RuntimeSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    default_data_folder,
)
from inglenook.settings.problems import Problem, SettingsError
from inglenook.settings.sources import Loaded, Override, find_file, load

__all__ = [
    "ImageSettings",
    "JobSettings",
    "Loaded",
    "ModelSettings",
    "OutgoingSettings",
    "Override",
    "Problem",
    "RuntimeSettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "StoreSettings",
    "default_data_folder",
    "find_file",
    "load",
]
