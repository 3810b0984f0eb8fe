"""Make the helper modules of this folder importable: it has no __init__.py, its name being the package's."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
