"""The adversary: for any claim and rule, a search for the run that comes closest to the bound, or exceeds it."""

from validation.adversary.extreme import Extreme, replay
from validation.adversary.hunt import search
from validation.adversary.spaces import SPACES, Space, around

__all__ = ["SPACES", "Extreme", "Space", "around", "replay", "search"]
