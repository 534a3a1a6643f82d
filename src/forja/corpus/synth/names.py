"""An invented world: companies, people, hosts, addresses and times that belong to nobody.

Domains end in .example, .test or .invalid (RFC 2606, RFC 6761); public addresses are those of RFC 5737 and
RFC 3849, private ones of RFC 1918, hardware addresses of RFC 7042.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from forja.corpus.synth.grammar import Draw, between, pick

STARTS = ["Vel", "Tar", "Kel", "Nor", "Bram", "Quil", "Osk", "Ard", "Mer", "Hal", "Cor", "Fen", "Lum", "Dras", "Pell", "Zan", "Ister", "Ond", "Wex", "Gal", "Bran", "Sol", "Tev", "Rud", "Aln", "Krest", "Mav", "Yor", "Tolm", "Ebr", "Sarn", "Vint", "Hux", "Dov", "Perr", "Lans", "Ruv", "Orl", "Calm", "Thes"]
ENDS = ["mora", "wick", "tavia", "bridge", "dane", "ovia", "stead", "entis", "aris", "holt", "imar", "ander", "elda", "oria", "mont", "vale", "ette", "ingar", "ona", "field", "quist", "umbra", "erra", "lith", "iden", "avo", "sund", "orn", "elis", "una"]
SECTORS = {
    "en": ["Logistics", "Foods", "Energy", "Health", "Textiles", "Insurance", "Engineering", "Water", "Robotics", "Travel", "Dairy", "Paper", "Optics", "Housing", "Freight", "Media", "Metals", "Pharma", "Airports", "Seeds", "Credit", "Publishing", "Tools", "Ceramics", "Rail", "Software"],
    "es": ["Logística", "Alimentación", "Energía", "Salud", "Textil", "Seguros", "Ingeniería", "Aguas", "Robótica", "Viajes", "Lácteos", "Papel", "Óptica", "Vivienda", "Transportes", "Medios", "Metales", "Farma", "Aeropuertos", "Semillas", "Crédito", "Editorial", "Herramientas", "Cerámica"],
}
FIRSTS = {
    "en": ["Amara", "Bea", "Callum", "Dalia", "Edwin", "Farah", "Gideon", "Hana", "Ivo", "Jonas", "Keiko", "Leon", "Maren", "Nadia", "Oscar", "Priya", "Quentin", "Rosa", "Stefan", "Tamsin", "Umar", "Vera", "Wendell", "Ximena", "Yusuf", "Zoe", "Aaron", "Brigid", "Chidi", "Dorota", "Elif", "Fergus", "Greta", "Hugo", "Imani", "Jelena", "Kofi", "Lucia", "Mateo", "Noor", "Olga", "Pavel", "Ruth", "Samir", "Tove", "Ursula", "Viktor", "Wanda", "Yara", "Zdenek", "Anders", "Bruna", "Cedric", "Devi", "Emeka", "Fiona", "Goran", "Helga", "Ines", "Jamal", "Kirsten", "Lars", "Mina", "Niall", "Oriol", "Petra", "Rafael", "Sunita", "Tomas"],
    "es": ["Adela", "Bruno", "Candela", "Darío", "Elena", "Fermín", "Gloria", "Hugo", "Inés", "Joaquín", "Leire", "Martín", "Nuria", "Óscar", "Pilar", "Quim", "Rocío", "Saúl", "Teresa", "Unai", "Valeria", "Ximena", "Yolanda", "Álvaro", "Begoña", "Clara", "Daniel", "Estíbaliz", "Fátima", "Gonzalo", "Irene", "Jimena", "Lorenzo", "Marisol", "Nicolás", "Olga", "Pablo", "Rebeca", "Sergio", "Tamara", "Víctor", "Aitana", "Beltrán", "Carlota", "Emilio", "Jordi"],
}
LASTS = {
    "en": ["Achterberg", "Bellweather", "Castellane", "Drummore", "Eastlake", "Farrow", "Granholt", "Hollis", "Iverson", "Jarrah", "Kettering", "Lindqvist", "Marlowe", "Nakagawa", "Okonjo", "Pemberley", "Quist", "Rasmusen", "Sandoval", "Tremblay", "Ulvestad", "Varga", "Whitlock", "Yilmaz", "Zeller", "Abara", "Brandvold", "Coria", "Dhillon", "Eklund", "Fontaine", "Ghosh", "Haddad", "Ishida", "Jensson", "Kowal", "Laskaris", "Mbeki", "Novotny", "Oyelaran", "Petrossian", "Rahimi", "Soto", "Takeda", "Unwin", "Vasquez", "Wierzba", "Yeo", "Zamora", "Ashdown", "Birch", "Corley", "Delacroix", "Engel"],
    "es": ["Albarracín", "Belmonte", "Cifuentes", "Dávila", "Echeverría", "Ferrándiz", "Garmendia", "Herranz", "Ibarra", "Jurado", "Lozano", "Mediavilla", "Navarrete", "Olmedo", "Peñalver", "Quiroga", "Robledo", "Sanchís", "Tejada", "Urrutia", "Valdés", "Yáñez", "Zubiri", "Arriaga", "Bermejo", "Carrasco", "Domínguez", "Espinosa", "Figueroa", "Gálvez", "Hinojosa", "Izquierdo", "Llorente", "Montoya", "Noguera", "Ordóñez", "Pacheco", "Rincón"],
}
ROLES = {
    "en": ["finance manager", "accounts payable clerk", "head of people", "payroll officer", "chief financial officer", "IT support lead", "procurement lead", "systems administrator", "sales director", "office manager", "legal counsel", "managing director", "data protection officer", "project manager", "warehouse supervisor", "service desk analyst", "treasurer", "plant engineer"],
    "es": ["responsable de finanzas", "administrativa de proveedores", "directora de personas", "técnico de nóminas", "director financiero", "responsable de soporte", "jefa de compras", "administrador de sistemas", "directora comercial", "responsable de oficina", "asesora jurídica", "director general", "delegado de protección de datos", "jefe de proyecto", "encargada de almacén", "analista de soporte", "tesorera", "ingeniera de planta"],
}
PLAIN_LETTERS = str.maketrans("áéíóúñüÁÉÍÓÚÑÜ", "aeiounuAEIOUNU")
MONTHS = {
    "en": ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"],
    "es": ["enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"],
}
DAYS = {
    "en": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "es": ["lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"],
}
PUBLIC = ("192.0.2.", "198.51.100.", "203.0.113.")
EPOCH = datetime(2021, 1, 4)
DAYS_OF_SCENES = 1900


@dataclass(frozen=True, slots=True)
class Company:
    name: str
    word: str
    domain: str


@dataclass(frozen=True, slots=True)
class Person:
    first: str
    last: str
    role: str
    user: str
    mail: str

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


def company(draw: Draw, lang: str = "en") -> Company:
    word = pick(STARTS, draw) + pick(ENDS, draw)
    sector = pick(SECTORS[lang], draw)
    low = word.lower()
    if draw() < 0.25:
        return Company(f"{word} {sector}", word, f"{low}-{sector.lower().translate(PLAIN_LETTERS)}.example")
    return Company(f"{word} {sector}" if draw() < 0.8 else word, word, f"{low}.example")


def person(draw: Draw, domain: str, lang: str = "en") -> Person:
    """A person whose login and address follow one of a company's usual schemes."""
    first, last = pick(FIRSTS[lang], draw), pick(LASTS[lang], draw)
    plain, surname = first.translate(PLAIN_LETTERS).lower(), last.translate(PLAIN_LETTERS).lower()
    scheme = len(domain) % 4  # a company has one scheme
    user = (f"{plain}.{surname}", f"{plain[0]}{surname}", f"{plain}{surname[0]}", f"{surname}.{plain[0]}")[scheme]
    return Person(first, last, pick(ROLES[lang], draw), user, f"{user}@{domain}")


def public_address(draw: Draw) -> str:
    return f"{pick(PUBLIC, draw)}{between(2, 254, draw)}"


def public_v6(draw: Draw) -> str:
    return f"2001:db8:{int(draw() * 65536):x}:{int(draw() * 4096):x}::{between(1, 65535, draw):x}"


def private_network(draw: Draw) -> str:
    """The first three numbers of an inside network, with the dot."""
    kind = draw()
    if kind < 0.6:
        return f"10.{between(0, 254, draw)}.{between(0, 254, draw)}."
    if kind < 0.8:
        return f"172.{between(16, 31, draw)}.{between(0, 254, draw)}."
    return f"192.168.{between(0, 254, draw)}."


def hardware_address(draw: Draw, separator: str = ":") -> str:
    return separator.join(("00", "00", "5e", "00", "53", f"{int(draw() * 256):02x}"))


def moment(draw: Draw, *, office: bool = True) -> datetime:
    """A time to the second between 2021 and 2026; of a working day where `office`."""
    day = EPOCH + timedelta(days=int(draw() * DAYS_OF_SCENES))
    if office:
        if day.weekday() > 4:
            day += timedelta(days=2)
        return day + timedelta(seconds=between(7 * 3600, 18 * 3600, draw))
    return day + timedelta(seconds=int(draw() * 86400))


def long_date(when: datetime, lang: str = "en") -> str:
    month = MONTHS[lang][when.month - 1]
    return f"{when.day} de {month} de {when.year}" if lang == "es" else f"{when.day} {month} {when.year}"


def mail_date(when: datetime, zone: str) -> str:
    """RFC 5322, section 3.3; English in any language."""
    day, month = DAYS["en"][when.weekday()][:3], MONTHS["en"][when.month - 1][:3]
    return f"{day}, {when.day:02d} {month} {when.year} {when:%H:%M:%S} {zone}"
