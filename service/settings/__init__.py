"""The operator's settings: one frozen ``Settings``, read from the environment and validated."""

from service.settings.settings import Settings, SettingsError, environment_name, load_settings

__all__ = ["Settings", "SettingsError", "environment_name", "load_settings"]
