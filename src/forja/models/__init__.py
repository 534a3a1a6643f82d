"""The transformer, what presets mean, and Hugging Face folders out and in.

Other rooms use `transformer.Transformer` and `TransformerConfig`, `presets.resolve_config`, and of `hub`
`export`, `load_run_model`, `load_folder`, `save_model` and `load_model`. Importing `hf` registers model
type `forja` with transformers. Nothing is imported here, as torch takes seconds to load.
"""
