"""The Defender: scans where it runs, for a Console that it reaches through the proxy."""

from garrison.defender.agent import Agent
from garrison.defender.settings import DefenderSettings

__all__ = ["Agent", "DefenderSettings"]
