"""Pages made of the templates beside this file: complete, without script, every text in them escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from forja.evaluation.task_wording import shown
from forja.evaluation.wording import FILTERS


def render_page(template: str, content: Mapping[str, Any]) -> str:
    """The template's HTML. Only what is handed over as Markup, the charts, comes in as it is."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({**FILTERS, "shown": shown})
    return environment.get_template(template).render(content)
