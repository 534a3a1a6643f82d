"""What a run came to: `perplexity` (`evaluate_splits`, and `evaluate_text` for any text) beside `baselines`, `hidden`
for models that are no decoders, `metrics.collect_metrics` (metrics.json), and the page, `report.report_stage`. Nothing
is imported here, as torch takes seconds to load.
"""
