"""The evidence: certified problems, runs by the thousand, checks in 50 digits, figures, and the `s2sam` command."""

import sys


def main() -> None:
    """Run the `s2sam` command; on an installation without the extra, say in one line what to install."""
    try:
        from validation.cli import app
    except ModuleNotFoundError as error:
        if error.name in ("s2sam", "theory", "validation"):
            raise
        sys.exit(f"s2sam: the command needs {error.name}, which is not installed; run: pip install 's2sam[validation]'")
    app()
