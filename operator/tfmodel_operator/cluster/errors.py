"""What can go wrong between us and the API server.

ApiError
├── Conflict          409: somebody else was faster, or owns the object; look again
├── Gone              410: the history we asked for is no longer kept; list anew
├── NotFound          404
├── Rejected          400, 403, 413 and 422 on a write: the object can't be had as it is, its message says why
└── Unavailable       no answer, 401, 429, 5xx: nothing is known; try again
    └── Silent        a watch that has told nothing for too long: dead, or there was nothing to tell
"""

from __future__ import annotations


class ApiError(Exception):
    """The API server's answer was not the one hoped for. ``status`` is the HTTP code, 0 if there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Conflict(ApiError):
    pass


class Gone(ApiError):
    pass


class NotFound(ApiError):
    pass


class Rejected(ApiError):
    pass


class Unavailable(ApiError):
    pass


class Silent(Unavailable):
    pass


class ForeignObject(Exception):
    """An object of the name we need exists and isn't ours; the message names it."""


class Leftover(Exception):
    """An object of the name we need belongs to a deleted TFModel of the same name, and is about to be deleted with it."""


def from_status(status: int, message: str) -> ApiError:
    """Return the error for an HTTP status code."""
    match status:
        case 404:
            return NotFound(message, status)
        case 409:
            return Conflict(message, status)
        case 410:
            return Gone(message, status)
        case 400 | 403 | 405 | 413 | 415 | 422:
            return Rejected(message, status)
    return Unavailable(message, status)
