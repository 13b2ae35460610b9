"""Run MONAI Label's server for programs and pages of this machine only.

As it comes, it lets a page of any site, open in a browser of this machine, read from it and write to it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from monailabel.config import settings
from starlette.datastructures import Headers
from starlette.responses import JSONResponse

NAMES = ("127.0.0.1", "localhost")

# An environment variable would say so, too, but MONAI Label 0.8.5 does not start with it.
settings.MONAI_LABEL_CORS_ORIGINS = [f"http://{name}" for name in NAMES]

from monailabel.app import app  # noqa: E402


class OwnPagesOnly:
    """Refuses requests from pages of other sites, also if their name resolves to this machine.

    Args:
        app: what answers the others.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host, origin = headers.get("host", ""), headers.get("origin")
            met = None
            if urlsplit(f"//{host}").hostname not in NAMES:
                met = f"a request to {host or 'no name'}"
            elif origin is not None and urlsplit(origin).netloc != host:
                met = f"a page of {origin}"
            if met:
                detail = (
                    f"server: expected requests from this machine to {' or '.join(NAMES)}, met {met[:80]}"
                )
                answer = JSONResponse({"detail": f"{detail}; open the server's own address"}, 403)
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)


app.add_middleware(OwnPagesOnly)
