"""Putting the pages into Flower, before Flower is built: rules, templates, the login. Called by flowerconfig.py."""

import logging
import secrets
from typing import Any

from flower import urls
from tornado.web import url

from fntx_sessions.monitoring.flower import assets, day, ending, login, scrape
from fntx_sessions.monitoring.flower.loading import loader
from fntx_sessions.monitoring.flower.routes import PAGES
from fntx_sessions.monitoring.flower.site import Site
from fntx_sessions.security.core_dumps import forbid_core_dumps
from fntx_sessions.settings import Settings

# Flower wants a pattern of e-mail addresses before it checks forms; ours asks nobody's address.
AUTH = "fntx"


def install(settings: Settings) -> None:
    """Put our rules before Flower's own, which end with one that fits everything; doing it again changes nothing.

    Raises InvalidArgument for a setting that cannot be.
    """
    if "fntx_site" in urls.settings:
        return
    forbid_core_dumps()
    urls.handlers[0:0] = _rules(settings)
    urls.settings |= {
        "fntx_site": Site(settings),
        "template_loader": loader(urls.settings["template_path"]),
        "cookie_secret": secrets.token_urlsafe(64),
        "xsrf_cookie_kwargs": {"samesite": "Strict", "secure": settings.flower_behind_tls},
        "compress_response": True,
    }
    login.put_in()
    ending.put_in(settings)
    # It tells each look at the schema's version, and Health looks every other second.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    urls.settings["fntx_site"].threads.submit(day.warm)


def _rules(settings: Settings) -> list[Any]:
    return [
        *PAGES,
        url(r"/sessions/static/(.*)", assets.Assets, assets.arguments()),
        url(r"/login/?", login.LoginHandler),
        url(r"/logout", login.LogoutHandler),
        url(r"/look", login.PasswordHandler, name="fntx_look"),
        url(r"/metrics", scrape.GuardedMetrics, {"networks": scrape.networks(settings.flower_metrics_from)}),
    ]
