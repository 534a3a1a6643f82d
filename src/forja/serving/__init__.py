"""Text from a trained model: `generate.generate` (token ids), `generate.stream_text` and
`generate.chat_reply` (text as it becomes certain). Nothing is imported here, as torch takes seconds to load.
"""
