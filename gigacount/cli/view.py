"""`gigacount view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gigacount.cli.show import say
from gigacount.errors import UsageError


def view(
    *,
    result: Annotated[
        Path, typer.Argument(metavar="RESULT|IMAGE", help="A folder IMAGE.gigacount, or any picture, counted or not.")
    ],
    image: Annotated[Path | None, typer.Option(help="The picture, where it has moved since it was counted.")] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="The polygons that were left out of the count, where there were any.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages.")] = False,
) -> int:
    """Look at a picture and its count, correct heads, draw regions, and audit, in a browser on this machine.

    Prints the page's address, which nobody else can use, and serves it until Ctrl-C. What is drawn and corrected is
    saved at once beside the result: IMAGE.corrections.geojson, IMAGE.regions.geojson, IMAGE.exclude.geojson,
    IMAGE.audit.jsonl.
    """
    from importlib.util import find_spec

    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise UsageError("the viewer needs starlette and uvicorn; pip install 'gigacount[view]'")
    from gigacount.view.opening import open_scene
    from gigacount.view.server import listen, serve

    with open_scene(result, image, exclude) as scene:
        if not quiet and scene.result is not None and scene.result.changed:
            say(f"{scene.result.image}: changed since it was counted; the layers are of another picture")
        bound, port, token = listen()
        address = f"http://127.0.0.1:{port}/{token}/"
        typer.echo(address)
        if browser:
            import webbrowser

            webbrowser.open(address)
        serve(scene, bound, port, token)
    return 0
