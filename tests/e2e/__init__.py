"""The installed command, as people and scripts run it."""
