"""What an operator decides: one frozen ``Settings``, read once from the environment, every bound checked."""

from service.settings.settings import Settings, SettingsError, environment_name, load_settings

__all__ = ["Settings", "SettingsError", "environment_name", "load_settings"]
