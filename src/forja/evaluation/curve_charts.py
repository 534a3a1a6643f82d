"""The curves of a training log as charts, alike in every run's report."""

from __future__ import annotations

from markupsafe import Markup

from forja.evaluation import charts, findings
from forja.evaluation.charts import Series


def curve_charts(curves: findings.Curves, *, unit: str = "nats a token") -> dict[str, Markup]:
    """Loss, gap, rates and pace over the steps. unit: of the loss."""
    loss = [Series("training", curves.loss), Series("validation", curves.valid)]
    gap = [Series("gap", [(one.step, one.nats) for one in findings.gaps(curves)])]
    rates = [Series(name, points) for name, points in curves.rates.items()]
    pace = [Series("tokens a second", curves.pace)]
    return {
        "loss": Markup(charts.line_chart("Loss", loss, x_label="step", y_label=unit)),
        "gap": Markup(
            charts.line_chart("Gap: validation less training loss", gap, x_label="step", y_label=unit, zero=True)
        ),
        "rates": Markup(charts.line_chart("Learning rate", rates, x_label="step", y_label="per step", zero=True)),
        "pace": Markup(charts.line_chart("Throughput", pace, x_label="step", y_label="tokens a second", zero=True)),
    }
