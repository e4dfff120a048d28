"""Composition root: the Chalice app, its routes and its Lambda functions. No logic."""

from __future__ import annotations

import logging

from chalice.app import Chalice

from chalicelib.api.application import mount
from chalicelib.api.auth import authenticate
from chalicelib.events.archives import archives
from chalicelib.events.deliveries import deliveries
from chalicelib.events.inspection import inspection_tasks
from chalicelib.events.notifications import notifications
from chalicelib.events.tasks import tasks
from chalicelib.wiring import get_services

app = Chalice(app_name="stcloud")
app.log.setLevel(logging.INFO)
# Lambda has set a handler up already, and this does nothing there; the emulator has not.
logging.basicConfig(format="[%(levelname)s] %(name)s: %(message)s")
logging.getLogger("chalicelib").setLevel(logging.INFO)

mount(app, get_services, authenticate)
app.register_blueprint(tasks)
app.register_blueprint(inspection_tasks)
app.register_blueprint(archives)
app.register_blueprint(notifications)
app.register_blueprint(deliveries)
