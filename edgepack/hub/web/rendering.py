"""Fills templates; everything that is not markup of ours is escaped.

It is not aware of questions and answers. Used by the pages.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from edgepack import __version__
from edgepack.hub.web.addresses import Addresses

#: The folder of the style sheet and the script, served under `/static`.
STATIC: Final = files("edgepack.hub.web") / "static"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("edgepack.hub.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def fill(template: str, **values: Any) -> str:
    """Fills a template.

    Args:
        template: Its name, such as `fleet.html`.
        values: What it names; one that is missing is an error.

    Returns:
        The page.
    """
    return _environment().get_template(template).render(version=__version__, **values)


def render(
    template: str, *, status: int = 200, addresses: Addresses | None = None, **values: Any
) -> HTMLResponse:
    """Fills a template within the frame of the hub's pages.

    Args:
        template: Its name, such as `fleet.html`.
        status: HTTP's.
        addresses: Where the hub's paths begin; None: at the root.
        values: What the template names.

    Returns:
        The answer.
    """
    here = addresses or Addresses()
    text = fill(template, layout="page.html", here=here, style=Markup(), **values)
    return HTMLResponse(text, status_code=status)


def error_page(
    status: int, title: str, message: str, *, addresses: Addresses | None = None
) -> HTMLResponse:
    """Says what is wrong with a question.

    Args:
        status: HTTP's.
        title: In a few words.
        message: In a sentence.
        addresses: Where the hub's paths begin.

    Returns:
        The page.
    """
    return render(
        "error.html",
        status=status,
        addresses=addresses,
        title=title,
        place="",
        message=message,
    )


def login_page(
    problem: str | None, *, status: int = 200, addresses: Addresses | None = None
) -> HTMLResponse:
    """Asks for a reader's token; a script takes it from `#TOKEN` in the address.

    Args:
        problem: Why the last one was not taken, or None.
        status: HTTP's.
        addresses: Where the hub's paths begin.

    Returns:
        The page.
    """
    return render(
        "login.html",
        status=status,
        addresses=addresses,
        title="Sign in",
        place="login",
        problem=problem,
    )
