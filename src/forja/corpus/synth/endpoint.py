"""An OpenAI-compatible endpoint as a writer: chat completions over HTTP, retried with patience, kept on disk.

The key is sent to the endpoint and nowhere else: it is in no message, no record and no cache.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import xxhash

from forja.corpus.synth.writers import Writer, endpoint_name
from forja.errors import ForjaError

TRIES = 6
PATIENCE = 60.0
"""Seconds between two tries at most, whatever the endpoint asks for."""
TIMEOUT = 120.0
"""Seconds without a byte."""
AT_ONCE = 8
MOST_BYTES = 4 * 2**20
MAX_TOKENS = 1500
WHERE = "corpus.sources synth.endpoint"


def endpoint_writer(
    address: str,
    model: str | None,
    key_variable: str,
    *,
    cache: Path | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Writer:
    """Chat completions of `model` at `address` (https://host/v1); answers in `cache` are not asked for again.

    Raises ForjaError for an address that is none, without a model, and for a key that would travel in the clear.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ForjaError("the endpoint is no http(s) address.", where=WHERE, fix="Give it as https://host/v1.")
    if parts.username or parts.password:
        raise ForjaError("the endpoint's address holds a user or password.", where=WHERE, fix=f"Use {key_variable}.")
    if not model:
        raise ForjaError("an endpoint needs the name of a model.", where=WHERE, fix="Give synth.model beside it.")
    key = os.environ.get(key_variable)
    if key and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ForjaError("the key would be sent unencrypted.", where=WHERE, fix=f"Use https, or unset {key_variable}.")
    name, url = endpoint_name(address, model), address.rstrip("/") + "/chat/completions"
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    def write(orders: Sequence[tuple[str, int]]) -> list[str]:
        import httpx2

        limits = httpx2.Limits(max_connections=AT_ONCE)
        with (
            httpx2.Client(headers=headers, timeout=TIMEOUT, limits=limits) as client,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            asked = [
                pool.submit(_answer, client, url, model, order, seed, key_variable, cache, pause)
                for order, seed in orders
            ]
            try:
                return [future.result() for future in asked]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    return Writer(name, write)


def _answer(
    client: Any,
    url: str,
    model: str,
    order: str,
    seed: int,
    key_variable: str,
    cache: Path | None,
    pause: Callable[[float], None],
) -> str:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": order}],
        "seed": seed,
        "temperature": 1.0,
        "max_tokens": MAX_TOKENS,
    }
    digest = xxhash.xxh3_128_hexdigest(json.dumps([url, body], sort_keys=True).encode())
    kept = cache / f"{digest}.json" if cache else None
    if kept is not None and (text := _kept(kept)) is not None:
        return text
    text = _ask(client, url, body, key_variable, pause)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f".{digest}.{os.getpid()}.part")
        part.write_text(json.dumps({"text": text}), encoding="utf-8")
        os.replace(part, kept)
    return text


def _kept(path: Path) -> str | None:
    """The answer on disk; None where there is none or it is damaged."""
    try:
        text = json.loads(path.read_text(encoding="utf-8"))["text"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return text if isinstance(text, str) else None


def _ask(client: Any, url: str, body: dict[str, Any], key_variable: str, pause: Callable[[float], None]) -> str:
    import httpx2

    host, last = urlsplit(url).hostname, "no answer"
    for attempt in range(TRIES):
        wait = min(PATIENCE, 2.0**attempt)
        try:
            with client.stream("POST", url, json=body) as response:
                status = response.status_code
                if status == 200:
                    return _content(_read(response, host), host)
                if status in (401, 403):
                    raise ForjaError(
                        f"{host} refused the request ({status}).",
                        where=WHERE,
                        fix=f"Set {key_variable} to a valid key.",
                    )
                if status != 408 and status != 429 and status < 500:
                    raise ForjaError(
                        f"{host} answered {status}.", where=WHERE, fix="Check the address and the model's name."
                    )
                last = f"status {status}"
                asked = response.headers.get("retry-after", "")
                wait = min(PATIENCE, float(asked)) if asked.isdecimal() else wait
        except httpx2.TransportError as error:
            last = type(error).__name__
        if attempt < TRIES - 1:
            pause(wait)
    raise ForjaError(
        f"{host} gave no answer in {TRIES} tries ({last}).", where=WHERE, fix="Try again later; what came is kept."
    )


def _read(response: Any, host: str | None) -> bytes:
    data = b""
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > MOST_BYTES:
            raise ForjaError(f"{host} answered more than {MOST_BYTES:,} bytes.", where=WHERE)
    return data


def _content(data: bytes, host: str | None) -> str:
    try:
        content = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise ForjaError(
            f"{host} did not answer as chat completions do.",
            where=WHERE,
            fix="Is the address the one that ends in /v1?",
        ) from None
    return content.strip() if isinstance(content, str) else ""
