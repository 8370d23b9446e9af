"""Changes that no proof was found for and that still change nothing a user can see, each with its reason."""

from __future__ import annotations

#: Title of the configuration -> change, as it is printed -> reason.
EXCUSES: dict[str, dict[str, str]] = {}
