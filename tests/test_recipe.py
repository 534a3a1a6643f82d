"""A recipe says what it means, or one sentence says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from forja.errors import ForjaError, RecipeError
from forja.recipe import Recipe, fitting_objective
from forja.recipe_file import dump_recipe, load_recipe, shipped_recipes


def refuse(text: str, tmp_path: Path, *overrides: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path), overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["demo", "cpu-small", "gpt2-small", "modern-124m"])
def test_every_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    recipe, _ = load_recipe(name)
    assert recipe.name == name
    assert recipe.description


def test_shipped_recipes_are_found_in_the_package() -> None:
    assert {"demo", "cpu-small", "gpt2-small", "modern-124m"} <= shipped_recipes().keys()


@pytest.mark.parametrize("name", ["demo", "gpt2-small"])
def test_a_dumped_recipe_loads_as_the_same_recipe(name: str, tmp_path: Path) -> None:
    recipe, _ = load_recipe(name)
    path = tmp_path / "again.yaml"
    path.write_text(dump_recipe(recipe))
    assert load_recipe(str(path))[0] == recipe


def test_every_key_is_documented() -> None:
    schema = Recipe.model_json_schema()
    for name, section in [("Recipe", schema), *schema["$defs"].items()]:
        for key, field in section["properties"].items():
            described = "description" in field or "$ref" in field
            # A section as a whole is described by its own docstring; names and formats by themselves.
            assert described, f"{name}.{key} has no description"


def test_gpt2_small_is_the_shape_it_promises() -> None:
    recipe, _ = load_recipe("gpt2-small")
    model = recipe.model
    assert (model.layers, model.heads, model.width, recipe.tokens.context) == (12, 12, 768, 1024)
    assert recipe.training.optimizer.rate == 5e-4
    assert recipe.training.schedule.kind == "cosine"


def test_a_wrong_key_names_the_line_and_the_nearest_right_key(tmp_path: Path) -> None:
    message = refuse("name: x\ntraining:\n  minuts: 2\n", tmp_path)
    assert "line 3" in message
    assert "`training.minuts`" in message
    assert "`training.minutes`" in message


def test_a_wrong_key_inside_a_list_names_its_own_line(tmp_path: Path) -> None:
    message = refuse("name: x\ncorpus:\n  sources:\n    - path: a\n      waight: 2\n", tmp_path)
    assert "line 5" in message
    assert "`corpus.sources.0.weight`" in message


def test_a_key_in_the_wrong_section_is_found_in_the_right_one(tmp_path: Path) -> None:
    assert "Did you mean `training.steps`?" in refuse("name: x\nsteps: 3\n", tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\ntraining: {steps: many}\n", "`training.steps` is 'many'"),
        ("name: x\ntraining: {batch: -1}\n", "`training.batch` is -1"),
        ("name: x\nmodel: {preset: gpt3}\n", "'gpt2', 'modern' or 'original'"),
        ("name: x\ntokens: {context: 64, overlap: 64}\n", "overlap (64) must be smaller than context (64)"),
        ("name: x\ncorpus: {sources: [{path: a, dataset: b}]}\n", "exactly one of"),
        ("name: x\ncorpus: {sources: [{path: a}, {path: b/a}]}\n", "both called 'a'"),
        ("name: ../x\n", "`name`"),
        ("seed: 3\n", "lacks `name`"),
        ("- a\n", "mapping of sections"),
        ("a: b: c\n", "line 1: this is not valid YAML"),
        ("forja: 99\nname: x\n", "line 1: the recipe has format 99"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_it(text: str, expected: str, tmp_path: Path) -> None:
    assert expected in refuse(text, tmp_path)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="Did you mean `demo`"):
        load_recipe("demoo")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml"):
        load_recipe(str(tmp_path / "nowhere.yaml"))


def test_overrides_reach_nested_keys_and_lists() -> None:
    recipe, _ = load_recipe(
        "demo",
        ["training.steps=200", "training.optimizer.betas=[0.8, 0.9]", "corpus.sources.0.limit=5", "model.bias=true"],
    )
    assert recipe.training.steps == 200
    assert recipe.training.optimizer.betas == (0.8, 0.9)
    assert recipe.corpus.sources[0].limit == 5
    assert recipe.model.bias is True


@pytest.mark.parametrize("override", ["training.steps", "=3", "corpus.sources.9.limit=1", "seed.deep=1"])
def test_an_override_that_leads_nowhere_is_refused(override: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe("demo", [override])


def test_a_wrong_override_is_blamed_on_the_command_line() -> None:
    with pytest.raises(RecipeError, match=r"the command line: `training\.stesp`.*`training\.steps`"):
        load_recipe("demo", ["training.stesp=3"])


def test_the_schema_is_plain_json(tmp_path: Path) -> None:
    assert yaml.safe_load(yaml.safe_dump(Recipe.model_json_schema()))["title"] == "Recipe"


@pytest.mark.parametrize(
    ("asked", "architecture", "trained"),
    [
        ("auto", "decoder", "next-token"),
        ("auto", "encoder", "masked"),
        ("auto", "encoder-decoder", "span-corruption"),
        ("prefix", "encoder-decoder", "prefix"),
    ],
)
def test_the_objective_is_the_first_that_fits_the_architecture(asked: str, architecture: str, trained: str) -> None:
    assert fitting_objective(asked, architecture) == trained


def test_an_objective_that_does_not_fit_says_which_would() -> None:
    with pytest.raises(ForjaError, match="masked does not train an encoder-decoder") as error:
        fitting_objective("masked", "encoder-decoder")
    assert "Use span-corruption or prefix" in str(error.value)
