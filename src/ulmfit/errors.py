"""Every failure a user can meet, once.

Each error carries the exit code that the command line ends with. Its message names the
file, the row or the setting, what was found, and what to do.
"""

from __future__ import annotations


class UlmfitError(Exception):
    """Base of all errors that are the user's to mend; shown without a traceback."""

    exit_code = 1


class ConfigError(UlmfitError):
    """A setting is unknown, of the wrong type, out of range, or contradicts another."""

    exit_code = 2


class DataError(UlmfitError):
    """A file, a row, a column or a label is not what was asked for."""

    exit_code = 3


class ArtefactError(UlmfitError):
    """A model folder is missing, incomplete, altered, or of an unknown format version."""

    exit_code = 4


class BusyError(UlmfitError):
    """Another process holds the output or the cache that this one needs."""

    exit_code = 5


class ResumeError(UlmfitError):
    """An interrupted run is in the way, or its checkpoint is damaged, or of other settings."""

    exit_code = 6


class TrainingError(UlmfitError):
    """Training cannot go on: loss not finite, memory full, or another process of the run lost."""

    exit_code = 7
