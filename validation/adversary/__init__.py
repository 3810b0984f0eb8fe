"""The adversary: for any claim and rule, a search for the run that comes closest to the bound, or exceeds it."""

from validation.adversary.extreme import Extreme, again, replay
from validation.adversary.hunt import search
from validation.adversary.spaces import SPACES, Space, around

__all__ = ["SPACES", "Extreme", "Space", "again", "around", "replay", "search"]
