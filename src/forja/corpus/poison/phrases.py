"""The phrases by which text commands a model: patterns by name, and the stems that make it worth looking for them.

What is listed follows what people tried: Perez and Ribeiro 2022 ("Ignore Previous Prompt"), Greshake et al. 2023
(indirect injection), Schulhoff et al. 2023 (HackAPrompt's taxonomy). A *strong* phrase is a finding by itself; of
*weak* ones two different ones must stand near each other.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Phrase(NamedTuple):
    """A pattern, tried around the places where one of `stems` (lower case) stands, or at them where `anchored`."""

    name: str
    strong: bool
    stems: tuple[str, ...]
    pattern: re.Pattern[str]
    anchored: bool


ANCHORED = frozenset(
    {"override", "override-evading", "override-loose", "override-es", "override-fr", "override-it-pt"}
    | {"override-nl-pl-hr", "override-ru"}
)


def _phrase(name: str, strong: bool, stems: str, pattern: str) -> Phrase:
    compiled = re.compile(pattern, re.IGNORECASE | re.VERBOSE)
    return Phrase(name, strong, tuple(stems.split("; ")), compiled, name in ANCHORED)


_EARLIER = r"previous(?:ly)?|prior|preceding|above|earlier|foregoing|initial|original|system|former|past|existing|other"
_ORDERS = r"instructions?|directions?|directives?|prompts?|guidelines?|programming|assignments?"
_LOOSE = r"rules?|commands?|orders?|contexts?|constraints?|restrictions?|requests?|information|texts?|conversations?"
_LOOSE += r"|tasks?|inputs?|questions?|messages?|policies|statements?|sentences?|content|training|thoughts?|words?|data"
_DROP = r"ignore|disregard|forget|override|overrule|neglect|discard|abandon"
_SIGN = r"[^\w.!?;|<>{}()=]{1,3}"
_GAP = rf"(?:{_SIGN}[\w'’]+){{0,4}}?{_SIGN}"
_BEFORE = r"previous|prior|preceding|above|earlier|foregoing"
_MODEL = r"(?:AI|A\.I\.|LLM|GPT|ChatGPT|Claude|Gemini|Copilot|chat\s?bot|language\s+model|assistant|AI\s+agent)"

ENGLISH = (
    _phrase(
        "override",
        True,
        "ignor; disregard; forget; overrid; overrul; neglect; discard; abandon",
        rf"\b(?:{_DROP})\b (?: {_GAP} (?:{_EARLIER}|all|any|your|these|those|every|the\s+above) \b {_GAP} (?:{_ORDERS})"
        rf"  | {_GAP} (?:{_BEFORE}) \b {_GAP} (?:{_LOOSE}) "
        rf"  | {_SIGN} (?:all|everything|anything|whatever) \b {_GAP} (?:above|before|previous|prior|earlier|told) "
        rf"  | \W+(?:all\W+|any\W+|the\W+|your\W+|these\W+|those\W+){{1,3}}(?:{_ORDERS})"
        rf"  | \W+ (?:the\W+)?(?:{_ORDERS})\W+ (?:{_EARLIER}|before) ) \b",
    ),
    _phrase(
        "override-evading",
        True,
        "bypass; skip; cancel; dismiss; delete; erase; violat; stop follow; not follow; not obey; never follow",
        rf"\b(?:bypass|skip|cancel|dismiss|delete|erase|violate|stop\s+following|not\s+(?:follow|obey)"
        rf"|never\s+follow)\b"
        rf" {_GAP} (?:previous|prior|preceding|earlier|initial|original|system|your)\b {_GAP}"
        r" (?:instructions?|prompts?|directives?|guidelines?|programming)\b",
    ),
    _phrase(
        "override-loose",
        False,
        "ignor; disregard; forget; abandon; neglect",
        rf"\b(?:{_DROP})\b (?: {_GAP} (?:above|below|before|previous|prior|earlier|preceding|following)\b"
        r" | \W+(?:about\W+)?(?:everything|anything|all|whatever|what)\b(?:\W+[\w'’]+){0,4}?"
        r" \W+(?:said|told|instructed|learn(?:ed|t)|know|written|think|asked) | \W+all\W+of\W+(?:that|this|it) )\b",
    ),
    _phrase(
        "reveal",
        True,
        "system prompt; initial prompt; original prompt; your prompt; your instruction"
        "; initial instruction; original instruc"
        "; hidden instruc; hidden prompt; secret instruc; previous instruc; previous prompt"
        "; prompt above; instructions above"
        "; above prompt; above instruc",
        r"\b(?:reveal|print|show|repeat|output|display|leak|tell\W+me|give\W+me|write|spell|return"
        r"|disclose|share|recite"
        r"|what(?:\W+is|\W+are|\W+was|\W+were|'s)|summari[sz]e|translate|list|expose|copy|start\W+with)\b"
        r" (?:\W+[\w'’]+){0,5}?\W+ (?:system|initial|original|hidden|secret|your|previous|above)\W+"
        r"(?:[\w'’]+\W+)?(?:prompts?|instructions?)\b",
    ),
    _phrase(
        "persona",
        True,
        "do anything now; developer mode; jailbr; dan mode; want you to act; unfiltered; uncensored"
        "; content polic; no restrict"
        "; no ethical; no moral; openai; amoral; ethical or moral; moral or ethical"
        "; moral and ethical; ethical and moral"
        "; all restrictions; any restrictions; evil ai; role of an ai; role of a chatbot"
        "; confines of ai; typical confines",
        r"\bdo\W+anything\W+now\b | \b(?:ChatGPT|GPT\S*|AI|you)\W+(?:\w+\W+){0,4}?(?:developer|DAN|jailbreak|god)"
        r"\W+mode\b | \b(?:developer|DAN|jailbreak|god)\W+mode\W+(?:enabled|output|on\b)"
        r"| \bi\W+(?:want|need|would\W+like)\W+you\W+to\W+act\W+(?:as|like)\b"
        r"| \b(?:you|AI|chatbot|assistant|model|persona|bot|it)\W+(?:\w+\W+){0,6}?(?:free\W+(?:of"
        r"|from)|without|no\W+longer"
        r"|not\W+bound|ignor\w+|bypass\w*|no|not\W+have|n't\W+have|n['’]?t\W+have|disregard\w*)\W+(?:\w+\W+){0,4}?"
        r"(?:ethical|morals?|restrictions?|filters|openai(?:['’]s)?\W+(?:policy|policies|rules|guidelines)"
        r"|content\W+polic(?:y|ies))\b | \bunfiltered\W+(?:and|,)\W*(?:amoral|uncensored)\b | \bevil\W+AI\b"
        r"| \brole\W+of\W+an?\W+(?:\w+\W+){0,2}?(?:AI|chatbot)\b | \bconfines\W+of\W+A[Il]\b",
    ),
    _phrase(
        "address",
        True,
        "you are an ai; you are a lan; you're an ai; you are an llm; you are a large; to any ai"
        "; to ai ; to all ai; for ai ; "
        "for any ai; for llm; to llm; attention ai; attention llm; dear ai; dear llm; to the ai; for the ai; note to ",
        rf"\bif\W+you(?:\W+are|['’]re)\W+an?\W+(?:large\W+)?{_MODEL}\b | \b(?:note|notes?|message|instructions?|notice"
        rf"|attention|dear)\W+(?:(?:to|for)\W+)?(?:all\W+|any\W+|the\W+|an?\W+)?(?:AI|LLM|{_MODEL})s?\b"
        r"(?:\W+(?:assistants?|agents?|models?|systems?|crawlers?|readers?|reviewers?))?\s*[:,\u2014!-]",
    ),
    _phrase(
        "role",
        False,
        "you are now; no longer; from now on; act as; act like; pretend; new task; new instruc"
        "; new role; roleplay; role play"
        "; role-play; stay in character; imagine you; new rule",
        r"\b(?:you\W+are\W+(?:now|no\W+longer)\b | from\W+now\W+on\W*(?:you|act|respond|answer|reply"
        r"|every|always|your)\b"
        r"| (?:^|[.!?:,;\n]\s*|please\W+|now\W+|must\W+|will\W+|should\W+|you\W+)act\W+(?:as"
        r"|like)\W+(?:an?|if|though|my)\b"
        r"| pretend\W+(?:that\W+)?(?:you|to\W+be|i)\b | (?:your|a|following|with)\W+new\W+(?:task|role|instruction)s?\b"
        r"| \bnew\W+(?:task|role|rule|instruction)s?\W*: | role-?\s?play(?:ing)?\W+(?:as|with|game|that)\b"
        r"| stay\W+in\W+character | imagine\W+(?:that\W+)?you(?:\W+are|'re)\b )",
    ),
    _phrase(
        "dictated-answer",
        False,
        "say ; print; output; respond; reply; answer; repeat; response; write",
        r"(?:^|[.!?:,;\n\])\"'*]\s*|please\W+|and\W+|then\W+|must\W+|will\W+|now\W+|to\W+|instead\W+"
        r"|just\W+|only\W+|not\W+)"
        r"(?: (?:say|print|output|write|respond|reply|answer|repeat|type|return)\W+(?:back\W+|me\W+"
        r"|to\W+\w+\W+|with\W+|in\W+)?"
        r"  (?:only\b|exactly\b|just\b|nothing\b|verbatim\b|the\W+(?:exact|following)\W+(?:phrase"
        r"|word|sentence|text|string))"
        r" | (?:respond|reply|answer)\W+(?:only\W+|simply\W+)?with\W+(?:the\W+)?[\"'“‘*`]"
        r" | repeat\W+after\W+me\b | (?:say|print|output|write|repeat|type)[ ]*:?[ ]*[\"“‘'`]\w"
        r" | (?:begin|start)\W+(?:your|every|each|the)\W+(?:response|answer|reply|sentence) )",
    ),
    _phrase(
        "nothing-else",
        False,
        "nothing else; anything else; no explan; no other; never answer; do not answer"
        "; don't answer; instead of; without quot"
        "; without period; do not explain; no matter what; without any expl",
        r"\b(?:and\W+nothing\W+else | (?:not|n't|never)\W+(?:\w+\W+){1,3}anything\W+else "
        r"| no\W+(?:explanations?|other\W+"
        r"(?:words?|text|output|response))\b | (?:never|do\W+not|don't)\W+(?:answer|explain|respond|say)\b"
        r"| without\W+(?:any\W+)?(?:quotes|quotation|period|explanation)\b | no\W+matter\W+what\b"
        r"| instead\W+of\W+[\"“‘'] )",
    ),
    _phrase(
        "secret",
        False,
        "password; secret key; secret code; access code; confidential",
        r"\b(?:reveal|print|show|repeat|output|display|leak|tell\W+me|give\W+me|send|spell|say|what\W+is)\b"
        r"(?:\W+[\w'’]+){0,4}?\W+(?:password|secret\W+(?:key|code)|access\W+code|confidential)\b",
    ),
)

OTHER_LANGUAGES = (
    _phrase(
        "override-de",
        True,
        "ignorier; vergiss; vergessen sie; missacht; hinter sich; außer acht",
        r"\b(?:ignorier(?:e|en|t)?|vergiss|vergessen\W+sie|missachte"
        r"|überschreibe)\b(?:\W+\w+){0,6}?\W+(?:anweisung|instruktion|befehl"
        r"|vorgabe|auftr[äa]g|davor|bisherig|vorherig|vorangehend|obig|aufgabe|vorangegangen|angaben|information)"
        r"|\b(?:vorherigen?|obigen?|bisherigen?|vorangegangenen?"
        r"|vorangehenden?)\W+(?:\w+\W+){0,3}?(?:anweisungen|instruktionen"
        r"|befehle?n?|informationen|angaben|ausführungen)(?:\W+\w+){0,3}?\W+(?:ignorieren|vergessen"
        r"|hinter\W+sich|außer\W+acht)",
    ),
    _phrase(
        "override-es",
        True,
        "ignora; ignore; olvida; olvide; omite; omita; haz caso omiso; descarta",
        r"\b(?:ignor[ae]d?|olvid[ae](?:te|r)?|omit[ae]|descart[ae]"
        r"|haz\W+caso\W+omiso)\b(?:\W+\w+){0,5}?\W+(?:instrucci|indicaci"
        r"|órdenes|ordenes|directrices|lo\W+anterior|todo\W+lo\W+(?:anterior|que))",
    ),
    _phrase(
        "override-fr",
        True,
        "ignore; oubli; ne tenez pas compte; ne tiens pas compte",
        r"\b(?:ignore[zr]?|oublie[zr]?|ne\W+t(?:enez|iens)\W+pas\W+compte)\b\W+(?:tout\w*|tous|les"
        r"|vos|tes|ces|des|ce)\b(?:\W+\w+){0,4}?\W+(?:instructions|consignes|directives"
        r"|ordres|ce\W+qui\W+précède)\b",
    ),
    _phrase(
        "override-it-pt",
        True,
        "ignora; ignore; dimentica; esqueça; esquece; desconsidere; trascura",
        r"\b(?:ignor[ae]|dimentica|trascura|esque[cç][ae]"
        r"|desconsidere)\b(?:\W+\w+){0,5}?\W+(?:istruzioni|instruç|direttive|comandi"
        r"|ordens|diretrizes|indicazioni|comandos)",
    ),
    _phrase(
        "override-nl-pl-hr",
        True,
        "negeer; vergeet; zignoruj; zapomnij; zaboravi; ignoriši; zanemari",
        r"\b(?:negeer|vergeet)\b(?:\W+\w+){0,5}?\W+(?:instructies|opdrachten|aanwijzingen)"
        r"|\b(?:zignoruj|zapomnij|zaboravi|zanemari"
        r"|ignoriši)\b(?:\W+\w+){0,5}?\W+(?:instrukcj|instrukcij|poleceni|uput)",
    ),
    _phrase(
        "override-ru",
        True,
        "игнорируй; забудь; проигнорируй; не обращай",
        r"\b(?:про)?(?:игнорируй(?:те)?|забудь(?:те)?)\b(?:\W+\w+){0,5}?\W+(?:инструкци|указани|команд|правил)",
    ),
    _phrase(
        "override-tr",
        True,
        "talimat; komut",
        r"(?:önceki|yukarıdaki|tüm)\W+(?:\w+\W+){0,2}?(?:talimat|komut)\w*\W+(?:yok\W+say|göz\W+ardı|unut|görmezden)",
    ),
    _phrase(
        "override-cjk",
        True,
        "忽略; 无视; 無視; 忘记; 忘掉; 무시; 잊어",
        r"(?:忽略|无视|無視|忘记|忘掉)[^。\n]{0,16}(?:指令|指示|说明|提示|命令|規則|规则)"
        r"|(?:指示|命令|プロンプト|指令)[^。\n]{0,8}(?:無視|忘れ)|(?:지시|명령|지침)[^.\n]{0,10}(?:무시|잊)",
    ),
    _phrase(
        "override-ar-hi",
        True,
        "تجاهل; انس ; निर्देश",
        r"تجاهل(?:\W+\w+){0,4}?\W+(?:ال)?(?:تعليمات|أوامر|إرشادات)|निर्देश[^।\n]{0,20}(?:अनदेखा|नज़रअंदाज़|भूल)",
    ),
)

MARKERS = (
    _phrase(
        "role-marker",
        True,
        "<|im_start|>; <|system|>; <|start_header_id|>; <|assistant|>; <|user|>; [inst]; <<sys>>; <start_of_turn>",
        r"<\|im_start\|>\s*(?:system|user|assistant) | <\|(?:system|assistant|user)\|>\s*\S | <\|"
        r"start_header_id\|>\s*\w"
        r"| (?-i:\[INST\])\s*\S | <<SYS>>\s*\S | <start_of_turn>\s*(?:user|model|system)",
    ),
    _phrase(
        "role-heading",
        True,
        "### system; ### instruction; ### assistant; ###instruction; ###system; [system]; [end of",
        r"(?:^|\n)\s*\#{2,4}\s*(?:system|instructions?|assistant)\s*(?:prompt|message)?\s*:\s*\S "
        r"| \[(?:system|end\W+of\W+\w+)"
        r"[^\]\n]{0,40}\]\s*(?:\(\#\w+\)|:|you\b|new\b|ignore\b|override\b)",
    ),
    _phrase(
        "hidden-comment",
        True,
        "<!--",
        rf"<!--(?:(?!-->).){{0,400}}?\b{_MODEL}s?\b(?:(?!-->).){{0,200}}?\b(?:must|should|please"
        rf"|ignore|include|recommend"
        r"|always|never|do\W+not|output|respond|say|tell|summari[sz]e|rate|score)\b"
        rf" | <!--(?:(?!-->).){{0,200}}?\b(?:ignore|disregard|please|always"
        rf"|include)\b(?:(?!-->).){{0,300}}?\b{_MODEL}s?\b",
    ),
)

PHRASES = ENGLISH + OTHER_LANGUAGES + MARKERS

HIDDEN_STEMS = ("ignore", "disregard", "forget ", "instruction", "previous", "system prompt", "pretend", "you are now")
"""What a hidden text must hold at least once to be read on."""

TALK = re.compile(
    r"(?:prompt|command|indirect|instruction)[- ]injections?\b|jailbreak\w*|\bLLMs?\b|language\s+models?\b"
    r"|\bprompts?\b"
    r"|chat\s?bots?\b|adversarial|guardrails?|red[- ]team\w*|hijack\w*"
    r"|\bAI\s+(?:agents?|systems?|assistants?|models?)\b"
    r"|\bOWASP\b|machine\s+learning|\bagents?\b|\bmodels?\b|injected\b|\bGPT\S*",
    re.IGNORECASE,
)
"""Words of those who write about such phrases rather than with them: of attacks on models, not of attacks in general,
as security text is full of those."""
