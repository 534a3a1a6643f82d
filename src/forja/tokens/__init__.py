"""The tokens room: documents become ids, ids become sequences.

`bpe` trains and opens the tokenizer (`train_tokenizer`, `load_tokenizer`, `Tokenizer`), `pack` encodes the corpus
into shards (`pack_tokens`, `split_of`), `loader` reads them (`TokenSplit`, `Batches`, `Batch`, `read_slots`), and
`corruption` hides parts of them for encoders and encoder-decoders (`objective_batches`, `objective_slots`).
Nothing is imported here, so that a command that needs one of them does not pay for the others.
"""
