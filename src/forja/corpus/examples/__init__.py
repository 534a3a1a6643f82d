"""Examples for fine-tuning: rows in the layouts that people have (`layouts`), split so that nothing leaks (`split`),
and written as Parquet (`build`)."""
