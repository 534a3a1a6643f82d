"""Writers other than the grammar: an endpoint that misbehaves, a tiny model, and answers that are no documents."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from forja.corpus.synth import read_synth
from forja.corpus.synth.endpoint import endpoint_writer
from forja.corpus.synth.local_model import model_writer
from forja.corpus.synth.writers import reject_reason
from forja.errors import ForjaError
from forja.recipe import SynthSection

KEY = "sk-test-9b7c1d"
GOOD = "Dear all, from Monday on we lock our screens when we leave: an open session is a signed cheque. Thank you. " * 2


class Endpoint(ThreadingHTTPServer):
    """Chat completions; `plan` holds what the next requests get in place of an answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[int | str] = []
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.seen.append(body)
            self.server.keys.append(self.headers.get("authorization"))
            step = self.server.plan.pop(0) if self.server.plan else GOOD
        if step == "cut":
            self.send_response(200)
            self.send_header("content-length", "5000")
            self.end_headers()
            self.wfile.write(b'{"choices"')
            return
        status, text = (step, "no") if isinstance(step, int) else (200, step)
        answer = json.dumps({"choices": [{"message": {"content": f"{text} {body['seed']}"}}]}).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("retry-after", "7")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("SYNTH_TEST_KEY", KEY)
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def section(endpoint: Endpoint, documents: int = 4) -> SynthSection:
    return SynthSection(documents=documents, endpoint=endpoint.address, model="m1", key_variable="SYNTH_TEST_KEY")


def test_an_endpoint_writes_the_order_and_every_record_says_so(endpoint: Endpoint) -> None:
    records = list(read_synth(section(endpoint), 3))
    assert len(records) == 4
    assert all(record.reason is None and (record.text or "").startswith("Dear all") for record in records)
    assert {record.meta["writer"] for record in records} == {"endpoint:127.0.0.1/m1"}
    assert all(record.meta["synthetic"] is True and record.licence is None for record in records)
    assert set(endpoint.keys) == {f"Bearer {KEY}"}
    assert all(seen["model"] == "m1" and "Scenario" in seen["messages"][0]["content"] for seen in endpoint.seen)


def test_a_busy_endpoint_is_asked_again_after_the_time_that_it_names(endpoint: Endpoint) -> None:
    waits: list[float] = []
    endpoint.plan = [429, 503, "cut"]
    write = endpoint_writer(endpoint.address, "m1", "SYNTH_TEST_KEY", pause=waits.append).write
    assert write([("order", 5)]) == [f"{GOOD} 5"]
    assert waits == [7.0, 2.0, 4.0]


def test_an_endpoint_that_never_answers_ends_in_one_sentence(endpoint: Endpoint) -> None:
    endpoint.plan = [500] * 20
    with pytest.raises(ForjaError, match="6 tries"):
        endpoint_writer(endpoint.address, "m1", "SYNTH_TEST_KEY", pause=lambda wait: None).write([("order", 5)])
    assert len(endpoint.seen) == 6


@pytest.mark.parametrize("status", [401, 403, 404, 400])
def test_a_refusal_is_not_repeated_and_never_shows_the_key(endpoint: Endpoint, status: int) -> None:
    endpoint.plan = [status]
    with pytest.raises(ForjaError) as found:
        endpoint_writer(endpoint.address, "m1", "SYNTH_TEST_KEY").write([("order", 5)])
    assert str(status) in str(found.value)
    assert KEY not in str(found.value) + repr(found.value)
    assert len(endpoint.seen) == 1


def test_a_killed_run_asks_only_for_what_it_has_not_and_gives_the_same(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.plan = [GOOD, GOOD, 401]
    with pytest.raises(ForjaError):
        list(read_synth(section(endpoint, 12), 3, cache=tmp_path))
    endpoint.plan, kept = [], len(list(tmp_path.glob("*.json")))
    assert kept >= 2
    before = len(endpoint.seen)
    records = list(read_synth(section(endpoint, 12), 3, cache=tmp_path))
    assert len(endpoint.seen) - before == 12 - kept
    assert list(read_synth(section(endpoint, 12), 3, cache=tmp_path)) == records
    assert len(endpoint.seen) - before == 12 - kept
    assert KEY not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_a_damaged_answer_on_disk_is_asked_for_again(endpoint: Endpoint, tmp_path: Path) -> None:
    records = list(read_synth(section(endpoint, 1), 3, cache=tmp_path))
    for path in tmp_path.glob("*.json"):
        path.write_text('{"text": "Dea')
    assert list(read_synth(section(endpoint, 1), 3, cache=tmp_path)) == records
    assert len(endpoint.seen) == 2


def test_an_answer_that_is_no_document_is_tried_once_more_and_then_rejected(endpoint: Endpoint) -> None:
    endpoint.plan = ["I'm sorry, but I can't help with that request, as it might be misused by somebody else. " * 2]
    assert next(read_synth(section(endpoint, 1), 3)).reason is None
    assert len(endpoint.seen) == 2
    endpoint.plan = ["short", "short"]
    record = next(read_synth(section(endpoint, 1), 3))
    assert record.reason == "synth-empty"
    assert record.meta["synthetic"] is True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n ", "synth-empty"),
        ("x " * 20_000, "synth-too-long"),
        (GOOD + "<|assistant|>", "synth-control-tokens"),
        ("I cannot create phishing content. " + GOOD, "synth-refusal"),
        ("Lo siento, no puedo ayudar con eso. " + GOOD, "synth-refusal"),
        ("Sure: " + "write one two three four five six seven eight nine ten " * 3, "synth-repeats-order"),
        (GOOD + "https://login.somebank.com/x", "synth-real-names"),
        (GOOD + "https://login.velmora.example/x and ruth@velmora.test", None),
    ],
)
def test_what_is_no_document_is_told_by_its_reason(text: str, reason: str | None) -> None:
    assert reject_reason(text, "write one two three four five six seven eight nine ten") == reason


@pytest.mark.parametrize("address", ["ftp://host/v1", "host/v1", "https://user:secret@host/v1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ForjaError) as found:
        endpoint_writer(address, "m1", "SYNTH_TEST_KEY")
    assert "secret" not in str(found.value)


def test_a_key_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTH_TEST_KEY", KEY)
    with pytest.raises(ForjaError, match="unencrypted"):
        endpoint_writer("http://models.example/v1", "m1", "SYNTH_TEST_KEY")
    with pytest.raises(ForjaError, match="name of a model"):
        endpoint_writer("https://models.example/v1", None, "SYNTH_TEST_KEY")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of two layers and its tokenizer, as a Hugging Face folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab={**letters, "<end>": 256}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>").save_pretrained(folder)
    config = GPT2Config(
        n_layer=2, n_head=2, n_embd=32, n_positions=1024, vocab_size=257, eos_token_id=256, bos_token_id=256
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_a_model_on_disk_writes_and_a_row_does_not_depend_on_its_neighbours(tiny: Path) -> None:
    write = model_writer(tiny.name, base_folder=tiny.parent, new_tokens=24).write
    together = write([("Write a policy.", 1), ("Write a policy.", 2), ("Write a policy.", 1)])
    assert together[0] == together[2] != together[1]
    assert write([("Write a policy.", 2)]) == together[1:2]


def test_a_model_that_is_not_in_safetensors_is_refused(tiny: Path, tmp_path: Path) -> None:
    for path in tiny.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"not safe")
    with pytest.raises(ForjaError, match="cannot be loaded"):
        model_writer(str(tmp_path), base_folder=Path()).write([("order", 1)])


def test_a_path_that_is_no_folder_is_refused_without_asking_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="no folder"):
        model_writer("./models/none/such", base_folder=tmp_path)


def test_an_order_to_a_model_gives_records_that_name_it(tiny: Path) -> None:
    order = SynthSection(documents=2, model=str(tiny))
    records = list(read_synth(order, 0, base_folder=Path()))
    assert [record.meta["writer"] for record in records] == [f"model:{tiny.name}"] * 2
