"""The hub's units and its proxy say the same; systemd and nginx themselves run in e2e."""

from __future__ import annotations

import re

from edgepack.formats.report import MAX_REPORT_BYTES
from tests.deploy.manifests import DEPLOY, load_document

_UNITS = DEPLOY / "systemd"


def _unit(name: str) -> str:
    text = (_UNITS / name).read_text(encoding="utf-8")
    return text[text.index("[Unit]") :]


def test_one_process_and_several_differ_in_their_port_alone() -> None:
    several = _unit("edgepack-hub@.service").replace(" (port %i)", "").replace("%i", "8090")
    assert several == _unit("edgepack-hub.service")


def test_the_proxy_lets_through_what_the_hub_takes() -> None:
    proxy = (DEPLOY / "nginx" / "edgepack-hub.conf").read_text(encoding="utf-8")
    (limit,) = re.findall(r"client_max_body_size (\d+)m;", proxy)
    # Sixteen reports of the largest size, as one batch.
    assert int(limit) * 2**20 == 16 * MAX_REPORT_BYTES


def test_units_proxy_and_scrapes_name_the_same_ports() -> None:
    proxy = (DEPLOY / "nginx" / "edgepack-hub.conf").read_text(encoding="utf-8")
    behind = re.findall(r"server 127\.0\.0\.1:(\d+)", proxy)
    enabled = re.findall(
        r"edgepack-hub@(\d+)", (_UNITS / "edgepack-hub@.service").read_text(encoding="utf-8")
    )
    assert behind == enabled
    (single,) = re.findall(r"--port (\d+)", _unit("edgepack-hub.service"))
    assert behind[0] == single
    (group,) = load_document(DEPLOY / "prometheus" / "hubs" / "hub.yml")
    assert group["targets"] == [f"127.0.0.1:{single}"]
