"""What security text in training is worth on security text: bits a byte of two models that differ in nothing else.

    python benchmarks/domain_text.py DATA --cache runs/domain-text

DATA holds `general` and `security` text. One tokenizer is trained on both; one model of the demo recipe's shape is
trained on general text alone and one on security text alone, for as many tokens, by the same settings and seed. Both
are scored on the same held-out security documents, which neither has seen, and on held-out general ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from forja.corpus.build import build_corpus
from forja.evaluation.perplexity import evaluate_splits
from forja.models.hub import load_model
from forja.recipe import CorpusSection, Recipe, Source
from forja.recipe_file import load_recipe
from forja.tokens.bpe import train_tokenizer
from forja.tokens.pack import pack_tokens
from forja.training.pretrain import best_checkpoint, pretrain

SETS = {
    "general": ("general",),
    "security": (
        "security/attack_capec_cwe_text.jsonl.gz",
        "security/cve_text.jsonl.gz",
        "security/owasp_docs.jsonl.gz",
    ),
}


def main() -> None:
    options = arguments()
    recipe, _ = load_recipe("demo", ["corpus.screen.action=none", f"training.steps={options.steps}"])
    corpora = {name: corpus(name, paths, recipe, options) for name, paths in SETS.items()}
    both = corpus("both", tuple(path for paths in SETS.values() for path in paths), recipe, options)
    tokenizer = made(options.cache / "tokenizer")
    if not (tokenizer / "tokenizer.json").is_file():
        train_tokenizer(recipe.tokenizer, both, tokenizer)
    tokens = {name: packed(name, folder, tokenizer, recipe, options) for name, folder in corpora.items()}
    found = {name: trained(name, tokens, recipe, options) for name in SETS}
    print(f"\n{options.steps:,} steps of {recipe.training.batch} sequences of {recipe.tokens.context} tokens each")
    print(f"\n| trained on | {' | '.join(f'bits a byte of {name} text' for name in SETS)} |")
    print(f"| --- | {' | '.join('---:' for _ in SETS)} |")
    for name, bits in found.items():
        print(f"| {name} | {' | '.join(f'{bits[about]:.3f}' for about in SETS)} |")
    less = 1 - found["security"]["security"] / found["general"]["security"]
    print(f"\nOn security text, {less:.1%} fewer bits a byte than of the model trained on general text (goal: 25%).")


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def corpus(name: str, paths: tuple[str, ...], recipe: Recipe, options: argparse.Namespace) -> Path:
    """A corpus folder, from the cache where it is there."""
    folder = made(options.cache / f"corpus-{name}")
    if not list(folder.glob("documents-*.parquet")):
        sources = [Source(path=str(options.data / path), name=path) for path in paths]
        section = CorpusSection(**{**recipe.corpus.model_dump(), "sources": [one.model_dump() for one in sources]})
        build_corpus(section, folder, base_folder=Path.cwd(), seed=recipe.seed, forgotten=frozenset())
    return folder


def packed(name: str, folder: Path, tokenizer: Path, recipe: Recipe, options: argparse.Namespace) -> Path:
    tokens = made(options.cache / f"tokens-{name}")
    if not list(tokens.glob("train-*.bin")):
        pack_tokens(recipe.tokens, folder, tokenizer, tokens, weights={})
    return tokens


def trained(name: str, tokens: dict[str, Path], recipe: Recipe, options: argparse.Namespace) -> dict[str, float]:
    """Bits a byte on the held-out text of each kind, of a model trained on one."""
    workspace = made(options.cache / f"model-{name}")
    pretrain(recipe.training, recipe.model, tokens[name], workspace, seed=recipe.seed)
    model = load_model(best_checkpoint(workspace))
    bits = {}
    for about, folder in tokens.items():
        place = made(options.cache / f"scores-{name}-{about}")
        evaluate_splits(recipe.evaluation, model, folder, place, objective="next-token")
        bits[about] = float(json.loads((place / "perplexity.json").read_text())["test"]["bits_per_byte"])
    return bits


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder with `general` and `security`")
    parser.add_argument("--cache", type=Path, default=Path("runs/domain-text"))
    parser.add_argument("--steps", type=int, default=900)
    return parser.parse_args()


if __name__ == "__main__":
    main()
