"""What codes and rule names are called in the report: languages, regions, reasons, placeholders, flags.

A name that is not listed is told as it is written. How sentences are made is in `wording.py`.
"""

from __future__ import annotations

from functools import cache

_LANGUAGES = """
aa Afar; ab Abkhazian; ae Avestan; af Afrikaans; ak Akan; als Alemannic; am Amharic; an Aragonese; ar Arabic; arz
Egyptian Arabic; as Assamese; ast Asturian; av Avaric; ay Aymara; az Azerbaijani; azb South Azerbaijani; ba Bashkir;
bar Bavarian; bcl Central Bikol; be Belarusian; bg Bulgarian; bh Bihari; bi Bislama; bm Bambara; bn Bangla; bo
Tibetan; bpy Bishnupriya; br Breton; bs Bosnian; bxr Buryat; ca Catalan; cbk Chavacano; ce Chechen; ceb Cebuano; ch
Chamorro; ckb Central Kurdish; co Corsican; cr Cree; cs Czech; cu Church Slavic; cv Chuvash; cy Welsh; da Danish; de
German; diq Zazaki; dsb Lower Sorbian; dty Doteli; dv Divehi; dz Dzongkha; ee Ewe; el Greek; eml Emilian-Romagnol; en
English; eo Esperanto; es Spanish; et Estonian; eu Basque; fa Persian; ff Fula; fi Finnish; fj Fijian; fo Faroese; fr
French; frr Northern Frisian; fy Western Frisian; ga Irish; gd Scottish Gaelic; gl Galician; gn Guarani; gom Goan
Konkani; gu Gujarati; gv Manx; ha Hausa; he Hebrew; hi Hindi; hif Fiji Hindi; ho Hiri Motu; hr Croatian; hsb Upper
Sorbian; ht Haitian Creole; hu Hungarian; hy Armenian; hz Herero; ia Interlingua; id Indonesian; ie Interlingue; ig
Igbo; ii Sichuan Yi; ik Inupiaq; ilo Iloko; io Ido; is Icelandic; it Italian; iu Inuktitut; ja Japanese; jbo Lojban;
jv Javanese; ka Georgian; kg Kongo; ki Kikuyu; kj Kuanyama; kk Kazakh; kl Kalaallisut; km Khmer; kn Kannada; ko
Korean; kr Kanuri; krc Karachay-Balkar; ks Kashmiri; ku Kurdish; kv Komi; kw Cornish; ky Kyrgyz; la Latin; lb
Luxembourgish; lez Lezghian; lg Ganda; li Limburgish; lmo Lombard; ln Lingala; lo Lao; lrc Northern Luri; lt
Lithuanian; lu Luba-Katanga; lv Latvian; mai Maithili; mg Malagasy; mh Marshallese; mhr Eastern Mari; mi Māori; min
Minangkabau; mk Macedonian; ml Malayalam; mn Mongolian; mr Marathi; mrj Western Mari; ms Malay; mt Maltese; mwl
Mirandese; my Burmese; myv Erzya; mzn Mazanderani; na Nauru; nah Nahuatl; nap Neapolitan; nb Norwegian Bokmål; nd
North Ndebele; nds Low German; ne Nepali; new Newari; ng Ndonga; nl Dutch; nn Norwegian Nynorsk; no Norwegian; nr
South Ndebele; nv Navajo; ny Nyanja; oc Occitan; oj Ojibwa; om Oromo; or Odia; os Ossetic; pa Punjabi; pam Pampanga;
pfl Palatine German; pi Pali; pl Polish; pms Piedmontese; pnb Western Punjabi; ps Pashto; pt Portuguese; qu Quechua;
rm Romansh; rn Rundi; ro Romanian; ru Russian; rue Rusyn; rw Kinyarwanda; sa Sanskrit; sah Yakut; sc Sardinian; scn
Sicilian; sco Scots; sd Sindhi; se Northern Sami; sg Sango; sh Serbo-Croatian; si Sinhala; sk Slovak; sl Slovenian; sm
Samoan; sn Shona; so Somali; sq Albanian; sr Serbian; ss Swati; st Southern Sotho; su Sundanese; sv Swedish; sw
Swahili; ta Tamil; te Telugu; tg Tajik; th Thai; ti Tigrinya; tk Turkmen; tl Tagalog; tn Tswana; to Tongan; tr
Turkish; ts Tsonga; tt Tatar; tw Twi; ty Tahitian; tyv Tuvinian; ug Uyghur; uk Ukrainian; ur Urdu; uz Uzbek; ve Venda;
vec Venetian; vep Veps; vi Vietnamese; vls West Flemish; vo Volapük; wa Walloon; war Waray; wo Wolof; wuu Wu Chinese;
xal Kalmyk; xh Xhosa; xmf Mingrelian; yi Yiddish; yo Yoruba; yue Cantonese; za Zhuang; zh Chinese; zu Zulu
"""
"""ISO 639-1 and what else lid.176 tells (fastText), in English after Unicode's CLDR."""
_REGIONS = """
AD Andorra; AE United Arab Emirates; AF Afghanistan; AG Antigua & Barbuda; AI Anguilla; AL Albania; AM Armenia; AO
Angola; AQ Antarctica; AR Argentina; AS American Samoa; AT Austria; AU Australia; AW Aruba; AX Åland Islands; AZ
Azerbaijan; BA Bosnia & Herzegovina; BB Barbados; BD Bangladesh; BE Belgium; BF Burkina Faso; BG Bulgaria; BH Bahrain;
BI Burundi; BJ Benin; BL St. Barthélemy; BM Bermuda; BN Brunei; BO Bolivia; BQ Caribbean Netherlands; BR Brazil; BS
Bahamas; BT Bhutan; BV Bouvet Island; BW Botswana; BY Belarus; BZ Belize; CA Canada; CC Cocos (Keeling) Islands; CD
Congo - Kinshasa; CF Central African Republic; CG Congo - Brazzaville; CH Switzerland; CI Côte d’Ivoire; CK Cook
Islands; CL Chile; CM Cameroon; CN China; CO Colombia; CR Costa Rica; CU Cuba; CV Cape Verde; CW Curaçao; CX Christmas
Island; CY Cyprus; CZ Czechia; DE Germany; DJ Djibouti; DK Denmark; DM Dominica; DO Dominican Republic; DZ Algeria; EC
Ecuador; EE Estonia; EG Egypt; EH Western Sahara; ER Eritrea; ES Spain; ET Ethiopia; FI Finland; FJ Fiji; FK Falkland
Islands; FM Micronesia; FO Faroe Islands; FR France; GA Gabon; GB United Kingdom; GD Grenada; GE Georgia; GF French
Guiana; GG Guernsey; GH Ghana; GI Gibraltar; GL Greenland; GM Gambia; GN Guinea; GP Guadeloupe; GQ Equatorial Guinea;
GR Greece; GS South Georgia & South Sandwich Islands; GT Guatemala; GU Guam; GW Guinea-Bissau; GY Guyana; HK Hong
Kong; HM Heard & McDonald Islands; HN Honduras; HR Croatia; HT Haiti; HU Hungary; ID Indonesia; IE Ireland; IL Israel;
IM Isle of Man; IN India; IO British Indian Ocean Territory; IQ Iraq; IR Iran; IS Iceland; IT Italy; JE Jersey; JM
Jamaica; JO Jordan; JP Japan; KE Kenya; KG Kyrgyzstan; KH Cambodia; KI Kiribati; KM Comoros; KN St. Kitts & Nevis; KP
North Korea; KR South Korea; KW Kuwait; KY Cayman Islands; KZ Kazakhstan; LA Laos; LB Lebanon; LC St. Lucia; LI
Liechtenstein; LK Sri Lanka; LR Liberia; LS Lesotho; LT Lithuania; LU Luxembourg; LV Latvia; LY Libya; MA Morocco; MC
Monaco; MD Moldova; ME Montenegro; MF St. Martin; MG Madagascar; MH Marshall Islands; MK North Macedonia; ML Mali; MM
Myanmar; MN Mongolia; MO Macao; MP Northern Mariana Islands; MQ Martinique; MR Mauritania; MS Montserrat; MT Malta; MU
Mauritius; MV Maldives; MW Malawi; MX Mexico; MY Malaysia; MZ Mozambique; NA Namibia; NC New Caledonia; NE Niger; NF
Norfolk Island; NG Nigeria; NI Nicaragua; NL Netherlands; NO Norway; NP Nepal; NR Nauru; NU Niue; NZ New Zealand; OM
Oman; PA Panama; PE Peru; PF French Polynesia; PG Papua New Guinea; PH Philippines; PK Pakistan; PL Poland; PM St.
Pierre & Miquelon; PN Pitcairn Islands; PR Puerto Rico; PS Palestinian Territories; PT Portugal; PW Palau; PY
Paraguay; QA Qatar; RE Réunion; RO Romania; RS Serbia; RU Russia; RW Rwanda; SA Saudi Arabia; SB Solomon Islands; SC
Seychelles; SD Sudan; SE Sweden; SG Singapore; SH St. Helena; SI Slovenia; SJ Svalbard & Jan Mayen; SK Slovakia; SL
Sierra Leone; SM San Marino; SN Senegal; SO Somalia; SR Suriname; SS South Sudan; ST São Tomé & Príncipe; SV El
Salvador; SX Sint Maarten; SY Syria; SZ Eswatini; TC Turks & Caicos Islands; TD Chad; TF French Southern Territories;
TG Togo; TH Thailand; TJ Tajikistan; TK Tokelau; TL Timor-Leste; TM Turkmenistan; TN Tunisia; TO Tonga; TR Türkiye; TT
Trinidad & Tobago; TV Tuvalu; TW Taiwan; TZ Tanzania; UA Ukraine; UG Uganda; UM U.S. Outlying Islands; US United
States; UY Uruguay; UZ Uzbekistan; VA Vatican City; VC St. Vincent & Grenadines; VE Venezuela; VG British Virgin
Islands; VI U.S. Virgin Islands; VN Vietnam; VU Vanuatu; WF Wallis & Futuna; WS Samoa; YE Yemen; YT Mayotte; ZA South
Africa; ZM Zambia; ZW Zimbabwe
"""
"""ISO 3166-1 alpha-2, in English after Unicode's CLDR."""

REASONS = {
    "before-since": "Older than the recipe's date",
    "bomb": "Unpacks to too much",
    "broken-xml": "Broken XML",
    "damaged": "Damaged",
    "empty": "Empty",
    "encrypted": "Encrypted",
    "evaluation-set": "Shared with an evaluation set",
    "exact-duplicate": "Exact duplicate",
    "forgotten": "Erased on request",
    "http-status": "HTTP status other than 200",
    "invalid-utf-8": "Invalid UTF-8",
    "language": "Language not asked for",
    "namespace": "Wiki page that is no article",
    "near-duplicate": "Near duplicate",
    "nested-archive": "Archives nested too deep",
    "nested-too-deep": "Nested too deep",
    "no-members": "Archive without a member asked for",
    "no-text-field": "Without the text field",
    "not-a-cve": "Not a CVE record",
    "not-a-cwe": "Not a CWE entry",
    "not-a-kev": "Not a KEV entry",
    "not-a-rule": "Not a Sigma rule",
    "not-an-object": "Not a JSON object",
    "not-json": "Not JSON",
    "not-mail": "Not mail",
    "not-stix": "Not STIX",
    "not-text": "Not text",
    "not-text-type": "Page of a type that is no text",
    "not-wikitext": "Wiki page in another form than wikitext",
    "over-share": "Over its share of the corpus",
    "redirect": "Redirect",
    "revoked": "Revoked or withdrawn",
    "same-record": "Same record twice",
    "too-long": "Too long",
    "too-short": "Too short",
    "truncated": "Cut off",
    "unknown-type": "Web record of an unknown type",
    "unreadable": "Unreadable",
    "unsafe-path": "Archive member with an unsafe path",
    "unsupported": "Packed in an unsupported way",
    "url-pattern": "Address not asked for",
    "wat": "Web archive metadata (WAT), which holds no text",
}
RULE_SETS = {
    "gopher_quality": "Gopher",
    "gopher_repetition": "Gopher repetition",
    "c4": "C4",
    "fineweb": "FineWeb",
}
PLACEHOLDERS = {
    "email": "E-mail addresses",
    "phone": "Telephone numbers",
    "ip": "IP addresses",
    "card": "Payment card numbers",
    "iban": "IBANs",
    "national_id": "National ids",
    "secret": "Keys, tokens and passwords",
    "domain": "Domains",
    "url": "Web addresses",
    "hash": "File hashes",
    "user": "User names",
    "host": "Host names",
}
FLAGS = {
    "unicode-tags": "Hidden text in tag characters",
    "unicode-selectors": "Hidden bytes in variation selectors",
    "unicode-bidi": "Bidirectional overrides",
    "unicode-invisible": "Invisible characters",
    "unicode-homoglyphs": "Look-alike letters",
    "unicode-homoglyphs-few": "Look-alike letters, few in a long text",
    "instructions": "Instructions aimed at models",
    "instructions-discussed": "Instructions aimed at models, as a subject",
    "trigger-payload": "Rare trigger before the same continuation",
    "trigger-burst": "Rare trigger in a burst of documents",
    "flood": "Flood of near-identical text",
    "label-flip": "Label that contradicts its text",
}


def language(code: str) -> str:
    """English (en)"""
    if code == "und":
        return "Not told"
    name = _table(_LANGUAGES).get(code)
    return f"{name} ({code})" if name else code


def region(code: str) -> str:
    """Germany (DE)"""
    if code == "unknown":
        return "Unknown"
    name = _table(_REGIONS).get(code)
    return f"{name} ({code})" if name else code


def reason(code: str) -> str:
    """Too short; Gopher: mean word length"""
    rules, dot, rule = code.partition(".")
    if dot:
        return f"{RULE_SETS.get(rules, _spelled(rules))}: {rule.replace('_grams', '-grams').replace('_', ' ')}"
    return REASONS.get(code) or _spelled(code)


def placeholder(code: str) -> str:
    """E-mail addresses"""
    return PLACEHOLDERS.get(code) or _spelled(code)


def flag(code: str) -> str:
    """Invisible characters"""
    return FLAGS.get(code) or _spelled(code)


def _spelled(code: str) -> str:
    words = code.replace("-", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


@cache
def _table(listed: str) -> dict[str, str]:
    pairs = (entry.strip().partition(" ") for entry in " ".join(listed.split()).split(";"))
    return {code: name for code, _, name in pairs}
