"""The training room: one loop, and the parts it is given.

For others: `pretrain.pretrain` and `pretrain.best_checkpoint` (the stage), `loop.train` (the loop),
`checkpoints.load_checkpoint`, `objectives.token_losses`, `machine.keep_memory`. Modules are imported
by name, so that importing the room costs nothing.
"""
