"""The command line: one command a stage, `run` for all of them, and what people do with a run.

Thin on purpose: each command reads its arguments, calls a room, and prints. `main` turns every
failure into a sentence and an exit code: 1 it failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from forja import __version__
from forja.data_commands import data_app
from forja.errors import ForjaError, Interrupted
from forja.evaluation_commands import evaluate_command, report_command
from forja.options import (
    JsonOption,
    NameOption,
    Overrides,
    QuietOption,
    RecipeArgument,
    RunArgument,
    SourceOption,
    print_json,
)
from forja.plan_command import plan_command
from forja.progress import say, set_quiet
from forja.recipe import Recipe
from forja.recipe_file import dump_recipe, load_recipe, shipped_recipes
from forja.run import Run, find_run, read_json, runs_folder
from forja.training.processes import rank
from forja.tuning_commands import classify_command, finetune_command

app = typer.Typer(
    name="forja",
    help="From raw text to a language model that you own. Start with: forja run demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
recipe_app = typer.Typer(help="Look at recipes: list, show, schema.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(recipe_app, name="recipe")
app.add_typer(data_app, name="data")
app.command("plan")(plan_command)
app.command("finetune")(finetune_command)
app.command("classify")(classify_command)
app.command("evaluate")(evaluate_command)
app.command("report")(report_command)

# --- the stages ------------------------------------------------------------------------------


def _run_until(
    last: str,
    reference: str,
    overrides: list[str] | None,
    sources: list[str] | None,
    name: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    from forja.pipeline import run_stages

    set_quiet(quiet or as_json or rank() > 0)
    recipe, base = load_recipe(reference, overrides or (), name=name, sources=sources or ())
    run = Run(runs_folder() / recipe.name)
    results = run_stages(run, recipe, base, last=last)
    if rank() > 0:  # the first process tells
        return
    metrics = read_json(run.folder / "metrics.json") or {}
    if as_json:
        stages = [{"stage": r.stage, "status": r.status, "seconds": r.seconds} for r in results]
        print_json({"run": str(run.folder), "stages": stages, "metrics": metrics})
    elif all(result.status == "up to date" for result in results):
        print(f"Nothing to do: {run.folder} is up to date.")
    elif last == "report":
        _print_ending(run, metrics, reference, next(iter(recipe.report.prompts), "The"))
    elif last == "corpus-report":
        print(f"corpus: {_figures_line(results[0].figures)}")
        print(f"Report: {run.folder / 'corpus-report.html'}")
    else:
        print(f"{last}: {_figures_line(results[-1].figures)}")


def _figures_line(figures: dict[str, Any]) -> str:
    told = [f"{name.replace('_', ' ')} {value:,.10g}" for name, value in _numbers(figures)]
    return ", ".join(told) or "done"


def _numbers(figures: dict[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """The figures that are numbers, nested ones too; those of each source and of each `auto` are in the report."""
    for key, value in figures.items():
        if isinstance(value, dict) and key not in ("sources", "measured"):
            yield from _numbers(value, f"{above}{key} ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{above}{key}", value


def _print_ending(run: Run, metrics: dict[str, float], reference: str, prompt: str) -> None:
    samples = read_json(run.folder / "report" / "samples.json") or []
    warm = [sample for sample in samples if sample["temperature"] > 0] or samples
    if warm:
        print(f"\nA sample, at temperature {warm[0]['temperature']:g}:\n")
        print(f"  {warm[0]['prompt']}{warm[0]['text']}".replace("\n", "\n  "))
    if "perplexity.test" in metrics:
        counting = [(kind, metrics.get(f"perplexity.{kind}.test")) for kind in ("bigram", "unigram")]
        beside = ", ".join(f"a {kind} model: {found:.1f}" for kind, found in counting if found is not None)
        print(f"\nPerplexity {metrics['perplexity.test']:.1f} on held-out documents ({beside}).")
    print(f"Report: {run.folder / 'report.html'}")
    print("\nTry next:")
    if samples:
        print(f"  forja generate {run.name} {shlex.quote(prompt)}")
        print(f"  forja chat {run.name}")
    print(f"  forja run {shlex.quote(reference)} --name mine --source PATH/TO/YOUR/TEXT")


def _stage_command(stage: str, summary: str, *, command_name: str | None = None, example: str = "demo") -> None:
    """A command, named as its stage unless told, that runs every stage up to it."""
    command_name = command_name or stage

    def command(
        recipe: RecipeArgument,
        overrides: Overrides = None,
        source: SourceOption = None,
        name: NameOption = None,
        as_json: JsonOption = False,
        quiet: QuietOption = False,
    ) -> None:
        _run_until(stage, recipe, overrides, source, name, as_json, quiet)

    command.__doc__ = f"{summary}\n\nExample: forja {command_name} {example}"
    app.command(command_name)(command)


_stage_command(
    "report",
    "Run every stage that is not up to date.",
    command_name="run",
    example="demo --name mine --source ~/tickets training.minutes=10",
)
_stage_command(
    "corpus-report",
    "Collect, clean and deduplicate documents, and report what went in.",
    command_name="corpus",
    example="demo --source ~/tickets --source dump.jsonl.gz",
)
_stage_command("tokenizer", "Train the tokenizer (and the stages before it).")
_stage_command("tokens", "Encode and pack the corpus (and the stages before it).")
_stage_command("pretrain", "Train the model (and run the stages before it).")
_stage_command("export", "Write the model as a plain Hugging Face folder (and run the stages before it).")


# --- using a model ---------------------------------------------------------------------------

Temperature = Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token.")]
TopK = Annotated[int, typer.Option(min=0, help="Sample among the k likeliest tokens; 0 among all.")]
TopP = Annotated[float, typer.Option(min=0.0, max=1.0, help="Sample among the likeliest tokens of this mass.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same text.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens at most.")]


@app.command("generate")
def generate_command(
    run: RunArgument,
    prompt: Annotated[str, typer.Argument(help="The text to continue.")],
    max_tokens: MaxTokens = 200,
    temperature: Temperature = 0.8,
    top_k: TopK = 50,
    top_p: TopP = 1.0,
    seed: Seed = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text; repeatable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a text, streaming.

    Example: forja generate demo "The function returns" --temperature 0.7 --seed 1
    """
    folder = find_run(run)
    from forja.models.hub import load_run_model
    from forja.serving.generate import stream_text

    set_quiet(as_json)
    model, tokenizer = load_run_model(folder)
    pieces = stream_text(
        model,
        tokenizer,
        prompt,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop=stop or [],
    )
    if as_json:
        print_json({"prompt": prompt, "text": "".join(pieces)})
        return
    first = next(pieces, "")  # where the model can continue no text, nothing is printed
    print(prompt + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


@app.command("chat")
def chat_command(
    run: RunArgument,
    max_tokens: MaxTokens = 200,
    temperature: Temperature = 0.8,
    top_k: TopK = 50,
    top_p: TopP = 0.95,
    seed: Seed = None,
) -> None:
    """Talk to a model; it keeps the conversation. An empty line or Ctrl-D ends it.

    Example: forja chat demo
    """
    folder = find_run(run)
    from forja.models.hub import load_run_model
    from forja.serving.generate import chat_reply

    model, tokenizer = load_run_model(folder)
    encode = None
    if _tuned_to_chat(folder):
        from forja.tokens.chat import ChatEncoder

        encode = ChatEncoder(folder / "model").prompt
    else:
        say("This model was pretrained, not tuned to chat: it continues a transcript. Ctrl-C stops a reply.")
    messages: list[dict[str, str]] = []
    while True:
        try:
            said = input("you> ").strip()
        except EOFError:
            said = ""
        if not said:
            return
        messages.append({"role": "user", "content": said})
        reply = ""
        try:
            for piece in chat_reply(
                model,
                tokenizer,
                messages,
                max_tokens=max_tokens,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                seed=None if seed is None else seed + len(messages),
                encode=encode,
            ):
                print(piece, end="", flush=True)
                reply += piece
        except Interrupted as asked:
            if asked.signum != signal.SIGINT:
                raise
        print(flush=True)
        messages.append({"role": "assistant", "content": reply})


def _tuned_to_chat(folder: Path) -> bool:
    recipe, _ = load_recipe(str(folder / "recipe.yaml"))
    return recipe.base is not None and recipe.finetune.kind in ("chat", "preference")


# --- recipes ---------------------------------------------------------------------------------


@recipe_app.command("list")
def recipe_list(as_json: JsonOption = False) -> None:
    """The shipped recipes.

    Example: forja recipe list
    """
    known = {name: load_recipe(name)[0].description for name in shipped_recipes()}
    if as_json:
        print_json(known)
    else:
        for name, description in known.items():
            print(f"{name:14} {description}")


@recipe_app.command("show")
def recipe_show(recipe: RecipeArgument, overrides: Overrides = None, as_json: JsonOption = False) -> None:
    """A recipe with every default written out.

    Example: forja recipe show demo training.steps=200
    """
    loaded, _ = load_recipe(recipe, overrides or ())
    if as_json:
        print_json(loaded.model_dump(mode="json"))
    else:
        print(dump_recipe(loaded), end="")


@recipe_app.command("schema")
def recipe_schema() -> None:
    """The reference of every recipe key, as JSON Schema.

    Example: forja recipe schema
    """
    print_json(Recipe.model_json_schema())


# --- output and failure ----------------------------------------------------------------------


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"forja {__version__}")
        raise typer.Exit


def _interrupt(signum: int, frame: Any) -> None:
    raise Interrupted(signum)


def main() -> None:
    """The `forja` command."""
    # Libraries that would report their use are told not to, before any of them is loaded.
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    code = _exit_code(sys.argv[1:])
    if "daft" in sys.modules:
        # A thread of the engine that asks for the interpreter while it is taken down would abort the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _exit_code(arguments: list[str]) -> int:
    try:
        app(arguments)
        return 0
    except SystemExit as ended:  # how typer ends, with 2 where the command line was wrong
        return int(ended.code or 0)
    except Interrupted as asked:
        return _fail("stopped. Given again, a run's command goes on from here.", code=128 + asked.signum)
    except ForjaError as error:
        return _fail(str(error), arguments=arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(_os_error(error), arguments=arguments)
    except MemoryError:
        return _fail("there is not enough memory. Lower training.micro_batch or model.width.", arguments=arguments)
    except Exception as error:
        with tempfile.NamedTemporaryFile("w", prefix="forja-error-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
        message = f"something unforeseen happened ({type(error).__name__}: {error}). The details are in {file.name}."
        return _fail(message, arguments=arguments)


def _os_error(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{place}the disk is full. What was complete is kept; free some space and give the same command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place}permission denied. Nothing was changed; check who owns the folder, or set FORJA_RUNS."
    return f"{place}{error.strerror or error}."


def _fail(message: str, *, code: int = 1, arguments: list[str] | None = None) -> int:
    if arguments and "--json" in arguments:
        print_json({"error": message})
    print(f"forja: {message}", file=sys.stderr)
    return code
