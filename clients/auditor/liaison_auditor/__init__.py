"""Liaison for auditors: `liaison-auditor ...`, one module per command or group of commands."""
