"""The viewer's server: one image and its result, for one browser on this machine, and nothing else.

Every address begins with a token that only this browser was told. Requests for another host (a rebound name), and
those that another page sends, are refused. Files are served from a table of names, so no path leads out of it.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import astuple
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gigacount.density import DensityMap, people_in
from gigacount.errors import DataError, GigacountError
from gigacount.image import GigaImage
from gigacount.output.opened import StoredResult
from gigacount.output.overlay import colour_map
from gigacount.output.stored import INTERVAL, fits, number
from gigacount.regions import Region, Regions
from gigacount.regions.polygons import read_shape, rings_in
from gigacount.results import Interval
from gigacount.view.drawings import ADDED, REGIONS, REMOVED, ZONES, Corrections, DrawingFile, places_of
from gigacount.view.tiles import (
    TILE_PX,
    Cache,
    DensityTiles,
    HeadTiles,
    ground_tile,
    image_tile,
    most_level,
)
from gigacount.view.trail import Audit, positions

PAGE = Path(__file__).with_name("page")
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "viewer.css": ("viewer.css", "text/css; charset=utf-8"),
    "openseadragon.min.js": ("openseadragon.min.js", "text/javascript; charset=utf-8"),
}
"""Name in the address -> file of the page and its type."""

READERS = 2  # tiles that are read at a time
MOST_BODY = 4 * 2**20  # bytes of a request

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


Inside = Callable[[NDArray[np.float32]], NDArray[np.bool_]]


class Viewed:
    """An image with whatever is known of it: a result, its audit, and what a person drew.

    people: of the result; None where nobody was counted, or the result has no map. begin: the audit of a result, which
    takes a while to plan where there are many people, so it is asked for when it is first needed.
    """

    def __init__(
        self,
        image: GigaImage,
        beside: Callable[[str], Path],
        result: StoredResult | None = None,
        begin: Callable[[], Audit] | None = None,
    ) -> None:
        self.image, self.result, self._begin = image, result, begin
        self._planning = Lock()
        self.name = image.info.path.name
        heads = self.result.heads if self.result else None
        self.machine = np.zeros((0, 3), np.float32) if heads is None else heads
        self.heads = HeadTiles(self.machine, image.size_wh)
        self.people = self.result.density if self.result and self.result.has_density else None
        self.density = None
        if self.people is not None:
            ground = image.georeference.square_metres_of(image.size_wh) if image.georeference else None
            self.density = DensityTiles(self.people, ground)
        self.drawings: dict[str, DrawingFile] = {
            kind: DrawingFile(beside(f"{kind}.geojson"), kind, image.size_wh, self.name) for kind in (REGIONS, ZONES)
        }
        self.corrections = Corrections(beside("corrections.geojson"), image, self.machine, self.name)
        self.drawings["corrections"] = self.corrections
        self.cache = Cache()

    def about(self) -> dict[str, Any]:
        """What the page shows before any tile."""
        content = self.result.content if self.result else {}
        sides = ("left", "top", "width", "height")
        return {
            "name": self.name,
            "size": self.image.size_wh,
            "tile": TILE_PX,
            "levels": most_level(self.image.size_wh),
            "count": content.get("count"),
            "range": str(Interval(**content["interval"])) if fits(content.get("interval"), INTERVAL) else None,
            "heads": len(self.machine) if self.result is not None and self.result.heads is not None else None,
            "windows": [[window[side] for side in sides] for window in content.get("windows", [])],
            "legend": self.density.label if self.density else None,
            "colours": ["#%02x%02x%02x" % tuple(c) for c in colour_map(9).astype(int).tolist()],  # noqa: UP031
            "changed": self.result is not None and self.result.changed,
            "audit": self.people is not None,
        }

    def tile(self, layer: str, level: int, x: int, y: int) -> bytes:
        """Raises DataError, ImageError."""
        if layer == "image":
            return image_tile(self.image, level, x, y)
        if layer == "ground":
            return ground_tile(self.image, level, x, y)
        if layer == "density" and self.density is not None:
            return self.density.tile(level, x, y)
        raise DataError(f"there is no layer {layer}")

    def count_in(self, rectangle: tuple[float, float, float, float]) -> dict[str, float | int | None]:
        """People and heads in left, top, right, bottom; and the people with what was corrected there."""
        left, top, right, bottom = rectangle
        people = people_in(self.people, *rectangle) if self.people else None

        def inside(xy: NDArray[np.float32]) -> NDArray[np.bool_]:
            return np.asarray(((xy >= (left, top)) & (xy < (right, bottom))).all(axis=1))

        return self._counted(people, len(self.heads.inside(*rectangle)), inside)

    def count_polygon(self, feature: dict[str, Any]) -> dict[str, float | int | None]:
        """The same of a drawn polygon. Raises DataError."""
        polygon = read_shape(Path("region"), 1, feature).polygon
        drawn = Regions((Region("drawn", tuple(rings_in(polygon, self.image.size_wh)), polygon.area),))
        density = self.people or DensityMap.empty(self.image.size_wh, max(self.image.size_wh))
        (found,) = drawn.measure(density, self.machine[:, :2])
        return self._counted(found.count if self.people else None, found.points or 0, drawn.contain)

    def _counted(self, people: float | None, heads: int, inside: Inside) -> dict[str, float | int | None]:
        features = self.corrections.features()
        places = (np.array(places_of(features, kind), np.float32).reshape(-1, 2) for kind in (ADDED, REMOVED))
        added, removed = (int(inside(xy).sum()) for xy in places)
        corrected = None if people is None else people + added - removed
        return {"people": people, "heads": heads, "corrected": corrected, "corrected_heads": heads + added - removed}

    @cached_property
    def audit(self) -> Audit:
        """Raises DataError where there is no result to audit."""
        if self._begin is None or self.people is None:
            raise DataError("an audit needs a result with density.tif; make one with gigacount count")
        return self._begin()

    def audit_state(self, patch: int | None = None, heads: list[list[float]] | None = None) -> dict[str, Any]:
        """The patch to count next, and the total so far, after the heads that were found in a patch are kept."""
        with self._planning:
            audit = self.audit
            if patch is not None:
                audit.add(patch, None, heads)
        audit.refresh()
        made, patch = audit.estimate(), audit.next
        return {
            "patch": patch,
            "patches": audit.patches,
            "window": None if patch is None else astuple(audit.window(patch)),
            "said": str(made),
            "people": made.people,
            "low": made.low,
            "high": made.high,
            "done": made.patches,
            "heads": made.heads,
        }


class Guard:
    """Lets through what the browser sends that was told the token, from the page that it was told of.

    Its answers may not be used or framed by another page.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token = app, token
        self.hosts = {f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is not None:
            await Response(refusal, 403, media_type="text/plain")(scope, receive, with_headers)
        elif scope["type"] in ("http", "lifespan"):
            await self.app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> str | None:
        headers = dict(scope["headers"])
        host, origin = headers.get(b"host", b""), headers.get(b"origin")
        if host not in self.hosts:
            return "wrong host"
        if origin is not None and origin not in {b"http://" + name for name in self.hosts}:
            return "wrong origin"
        if scope["method"] not in ("GET", "HEAD") and origin is None:
            return "no origin"
        if headers.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
            return "another site"
        given = scope["path"].lstrip("/").partition("/")[0]
        return None if hmac.compare_digest(given.encode(), self.token.encode()) else "wrong token"


def make_app(scene: Viewed, token: str, port: int) -> ASGIApp:
    """The application of a viewed image, behind its guard."""
    pool, waiting = ThreadPoolExecutor(READERS, "tile"), asyncio.Semaphore(READERS)

    async def run(function: Callable[..., Any], *values: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *values)

    async def page(request: Request) -> Response:
        name, kind = FILES.get(request.path_params.get("name", ""), ("", ""))
        return Response((PAGE / name).read_bytes(), media_type=kind) if name else Response("not found", 404)

    async def about(request: Request) -> Response:
        return JSONResponse(scene.about())

    async def tile(request: Request) -> Response:
        key = tuple(request.path_params[part] for part in ("layer", "level", "x", "y"))
        async with nullcontext() if key in scene.cache else waiting:
            if await request.is_disconnected():  # the view has moved on while this tile waited
                return Response(status_code=499)
            made = await run(scene.cache.get, key, lambda: scene.tile(*key))
        kind = "image/jpeg" if key[0] == "image" else "image/png"
        return Response(made, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})

    async def heads(request: Request) -> Response:
        found, total = scene.heads.tile(*(request.path_params[part] for part in ("level", "x", "y")))
        return JSONResponse({"heads": found.astype(np.float64).round(2).tolist(), "of": total})

    async def rectangle(request: Request) -> Response:
        try:
            sides = [float(request.query_params[side]) for side in ("left", "top", "right", "bottom")]
        except (KeyError, ValueError) as error:
            raise DataError("a rectangle needs the numbers left, top, right, bottom") from error
        if not all(map(number, sides)):
            raise DataError("a rectangle's sides must be finite")
        return JSONResponse(await run(scene.count_in, (sides[0], sides[1], sides[2], sides[3])))

    async def polygon(request: Request) -> Response:
        return JSONResponse(await run(scene.count_polygon, await body(request)))

    async def drawing(request: Request) -> Response:
        kind = scene.drawings.get(request.path_params["kind"])
        if kind is None:
            return Response("not found", 404)
        if request.method == "GET":
            return JSONResponse(await run(kind.features))
        wanted = await body(request)
        add, remove = wanted.get("add", []), wanted.get("remove", [])
        if not isinstance(add, list) or not isinstance(remove, list):
            raise DataError("add and remove must be lists")
        return JSONResponse(await run(kind.change, add, remove))

    async def audit(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(await run(scene.audit_state))
        found = await body(request)
        patch, clicked = found.get("patch"), found.get("heads")
        if not isinstance(patch, int) or positions(clicked) is None:
            raise DataError("a counted patch needs a number and heads")
        return JSONResponse(await run(scene.audit_state, patch, clicked))

    place = "{level:int}/{x:int}/{y:int}"
    routes = [
        Route("/about", about),
        Route(f"/tile/{{layer}}/{place}", tile),
        Route(f"/heads/{place}", heads),
        Route("/count", rectangle),
        Route("/count", polygon, methods=["POST"]),
        Route("/drawing/{kind}", drawing, methods=["GET", "POST"]),
        Route("/audit", audit, methods=["GET", "POST"]),
        Route("/{name}", page),
        Route("/", page),
    ]
    app = Starlette(routes=[Mount(f"/{token}", routes=routes)], exception_handlers={GigacountError: complain})
    return Guard(app, token, port)


async def complain(request: Request, error: Exception) -> Response:
    """What is wrong, in a line, for the page to show."""
    return JSONResponse({"error": str(error)}, 400 if isinstance(error, DataError) else 507)


async def body(request: Request) -> dict[str, Any]:
    """The object that was sent. Raises DataError for anything else, and for more than MOST_BODY bytes."""
    content = b""
    try:
        async for piece in request.stream():
            content += piece
            if len(content) > MOST_BODY:
                raise DataError("the request is too large")
        value = json.loads(content)
    except (ValueError, RecursionError, ClientDisconnect) as error:
        raise DataError("not JSON") from error
    if not isinstance(value, dict):
        raise DataError("the request must be a JSON object")
    return value


def listen() -> tuple[socket.socket, int, str]:
    """A socket that only this machine reaches, its port, and a token."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.bind(("127.0.0.1", 0))
    return bound, bound.getsockname()[1], secrets.token_urlsafe(24)


def serve(scene: Viewed, bound: socket.socket, port: int, token: str) -> None:
    """Serve it until the process is told to stop."""
    import uvicorn

    config = uvicorn.Config(make_app(scene, token, port), log_level="error", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[bound])
