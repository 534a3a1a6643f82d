"""What the Windows security log holds of intrusions, and of innocent use that looks like them."""

from __future__ import annotations

from forja.corpus.synth.draft import words
from forja.corpus.synth.grammar import Draw, between, hexadecimal_digits, pick, sample
from forja.corpus.synth.logs import windows
from forja.corpus.synth.site import Clock, Line, Site, Story, office_pc


def windows_noise(site: Site, clock: Clock, host: str, draw: Draw) -> list[Line]:
    lines: list[Line] = []
    for _ in range(between(0, 5, draw)):
        at, kind, user = clock.after(2, 200), int(draw() * 6), pick(site.people, draw).user
        source = site.address(between(20, 250, draw))
        if kind == 0:
            lines.append(
                (at, windows(at, 4634, host, "An account was logged off.", {"TargetUserName": user, "LogonType": "3"}))
            )
        elif kind == 1:
            lines.append(
                (
                    at,
                    windows(
                        at,
                        4768,
                        host,
                        "A Kerberos authentication ticket (TGT) was requested.",
                        {
                            "TargetUserName": user,
                            "IpAddress": f"::ffff:{source}",
                            "TicketEncryptionType": "0x12",
                            "Status": "0x0",
                        },
                    ),
                )
            )
        elif kind == 2:
            lines.append(
                (
                    at,
                    windows(
                        at,
                        4624,
                        host,
                        "An account was successfully logged on.",
                        {"TargetUserName": f"{site.host.upper()}$", "LogonType": "3", "IpAddress": source},
                    ),
                )
            )
        elif kind == 3:
            lines.append(
                (
                    at,
                    windows(
                        at, 4672, host, "Special privileges assigned to new logon.", {"SubjectUserName": site.admin}
                    ),
                )
            )
        elif kind == 4:
            lines.append(
                (
                    at,
                    windows(
                        at,
                        5140,
                        host,
                        "A network share object was accessed.",
                        {"SubjectUserName": user, "ShareName": r"\\*\SYSVOL", "IpAddress": source},
                    ),
                )
            )
        else:
            lines.append(
                (
                    at,
                    windows(
                        at,
                        4776,
                        host,
                        "The computer attempted to validate the credentials for an account.",
                        {"TargetUserName": user, "Workstation": office_pc(site.people[2], draw), "Status": "0x0"},
                    ),
                )
            )
    return lines


def spray(site: Site, draw: Draw, attack: bool) -> Story:
    """One password for many accounts; or a morning at work. Windows security log of a domain controller."""
    clock = Clock(site.start, draw)
    controller = f"DC{between(1, 4, draw):02d}.{site.firm.word.lower()}.test"
    lines: list[Line] = []
    count = between(6, 13, draw)
    source = site.outside[0] if draw() < 0.5 else site.address(between(50, 250, draw))
    logins = [site.user] + [
        f"{pick(words('en')['firsts'], draw).lower()}.{pick(words('en')['lasts'], draw).lower()}"
        for _ in range(count - 1)
    ]
    domain = site.firm.word.upper()
    for login in logins:
        own = source if attack else site.address(between(20, 250, draw))
        fields = {"TargetUserName": login, "TargetDomainName": domain, "IpAddress": own, "LogonType": "3"}
        if attack or draw() < 0.12:
            failed = {"Status": "0xC000006D", "SubStatus": pick(("0xC000006A", "0xC000006A", "0xC0000064"), draw)}
            lines.append(
                (
                    at := clock.after(1, 3 if attack else 90),
                    windows(at, 4625, controller, "An account failed to log on.", fields | failed),
                )
            )
        if not attack:
            lines.append(
                (
                    at := clock.after(8, 120),
                    windows(at, 4624, controller, "An account was successfully logged on.", fields),
                )
            )
    if attack:
        winner = pick(logins, draw)
        fields = {"TargetUserName": winner, "TargetDomainName": domain, "IpAddress": source, "LogonType": "3"}
        lines.append(
            (at := clock.after(1, 4), windows(at, 4624, controller, "An account was successfully logged on.", fields))
        )
        if draw() < 0.4:
            group = {"MemberName": winner, "TargetUserName": "Domain Admins", "SubjectUserName": winner}
            lines.append(
                (
                    at := clock.after(60, 600),
                    windows(at, 4728, controller, "A member was added to a security-enabled global group.", group),
                )
            )
    else:
        winner = site.user
    lines += windows_noise(site, clock, controller, draw)
    return Story(
        lines, "T1110.003", "Security", {"source": source, "user": winner, "count": str(count), "target": controller}
    )


def lateral_movement(site: Site, draw: Draw, attack: bool) -> Story:
    """A service installed from a workstation on server after server; or software rolled out by its server."""
    clock = Clock(site.night if attack else site.start, draw)
    source_host = office_pc(site.people[0], draw) if attack else f"DEPLOY{between(1, 3, draw):02d}"
    source = site.address(between(100, 250, draw) if attack else between(5, 19, draw))
    user = site.admin if attack else "svc_deploy"
    lines: list[Line] = []
    word = hexadecimal_digits(8, draw)
    targets = [name.upper() for name in site.others]
    for host in targets:
        logon = {
            "TargetUserName": user,
            "LogonType": "3",
            "IpAddress": source,
            "WorkstationName": source_host,
            "AuthenticationPackageName": "NTLM" if attack else "Kerberos",
        }
        lines.append(
            (at := clock.after(5, 60), windows(at, 4624, host, "An account was successfully logged on.", logon))
        )
        if draw() < 0.6:
            lines.append(
                (
                    at := clock.after(0, 2),
                    windows(
                        at,
                        5145,
                        host,
                        "A network share object was checked.",
                        {
                            "SubjectUserName": user,
                            "ShareName": r"\\*\ADMIN$" if attack else r"\\*\Deploy$",
                            "RelativeTargetName": f"{word}.exe" if attack else "agent-setup.msi",
                        },
                    ),
                )
            )
        path = rf"%SystemRoot%\{word}.exe" if attack else r"C:\Program Files\SoftwareAgent\agent.exe"
        name = pick((word[:6], "PSEXESVC", "WinUpdateSvc"), draw) if attack else "SoftwareAgent"
        lines.append(
            (
                at := clock.after(1, 6),
                windows(
                    at,
                    7045,
                    host,
                    "A service was installed in the system.",
                    {"ServiceName": name, "ImagePath": path, "StartType": "demand start", "AccountName": "LocalSystem"},
                ),
            )
        )
        if attack and draw() < 0.5:
            lines.append(
                (
                    at := clock.after(1, 9),
                    windows(
                        at,
                        4688,
                        host,
                        "A new process has been created.",
                        {
                            "NewProcessName": r"C:\Windows\System32\cmd.exe",
                            "CommandLine": pick(
                                (
                                    "cmd.exe /c whoami /all",
                                    'cmd.exe /c net group "Domain Admins" /domain',
                                    "cmd.exe /c nltest /dclist:",
                                ),
                                draw,
                            ),
                            "ParentProcessName": path,
                        },
                    ),
                )
            )
    lines += windows_noise(site, clock, targets[0], draw)
    return Story(
        lines,
        "T1021.002",
        "Security / System",
        {"source": source, "user": user, "count": str(len(targets)), "target": source_host},
    )


def kerberoasting(site: Site, draw: Draw, attack: bool) -> Story:
    """One account asks for RC4 tickets of many services; or people use services, in AES."""
    clock = Clock(site.start, draw)
    controller = f"DC{between(1, 4, draw):02d}.{site.firm.word.lower()}.test"
    services = sample(
        (
            "MSSQLSvc/db01",
            "HTTP/intranet",
            "svc_backup",
            "MSSQLSvc/erp",
            "svc_print",
            "HTTP/reports",
            "svc_scan",
            "exchangeAB/mail",
            "FTP/files",
            "svc_crm",
        ),
        between(4, 8, draw),
        draw,
    )
    source = site.address(between(20, 250, draw))
    lines: list[Line] = []
    for service in services:
        fields = {
            "TargetUserName": site.user if attack else pick(site.people, draw).user,
            "ServiceName": service,
            "TicketEncryptionType": "0x17" if attack else "0x12",
            "TicketOptions": "0x40810000",
            "IpAddress": f"::ffff:{source if attack else site.address(between(20, 250, draw))}",
            "Status": "0x0",
        }
        lines.append(
            (
                at := clock.after(0.1, 2 if attack else 500),
                windows(at, 4769, controller, "A Kerberos service ticket was requested.", fields),
            )
        )
    lines += windows_noise(site, clock, controller, draw)
    return Story(
        lines,
        "T1558.003",
        "Security",
        {"source": source, "user": site.user, "target": controller, "count": str(len(services))},
    )


def log_clearing(site: Site, draw: Draw, attack: bool) -> Story:
    """The security log is cleared behind a new administrator; or archived by the collector."""
    clock = Clock(site.night if attack else site.start, draw)
    host = f"{site.host.upper()}.{site.firm.word.lower()}.test"
    who = pick(("helpdesk$", "support1", "svc_upd", site.user), draw) if attack else "svc_collector"
    lines: list[Line] = []
    if attack:
        lines.append(
            (
                at := clock.after(1, 60),
                windows(
                    at,
                    4720,
                    host,
                    "A user account was created.",
                    {"TargetUserName": who, "SubjectUserName": site.admin},
                ),
            )
        )
        lines.append(
            (
                at := clock.after(1, 20),
                windows(
                    at,
                    4732,
                    host,
                    "A member was added to a security-enabled local group.",
                    {"MemberName": who, "TargetUserName": "Administrators"},
                ),
            )
        )
        lines.append(
            (
                at := clock.after(20, 900),
                windows(
                    at,
                    4624,
                    host,
                    "An account was successfully logged on.",
                    {"TargetUserName": who, "LogonType": "10", "IpAddress": site.outside[0]},
                ),
            )
        )
        lines.append(
            (
                at := clock.after(60, 1200),
                windows(at, 1102, host, "The audit log was cleared.", {"SubjectUserName": who}),
            )
        )
    else:
        lines.append(
            (
                at := clock.after(1, 60),
                windows(
                    at,
                    1105,
                    host,
                    "Event log automatic backup.",
                    {"Channel": "Security", "BackupPath": rf"D:\logs\Archive-Security-{at:%Y-%m-%d}.evtx"},
                ),
            )
        )
        lines.append(
            (
                at := clock.after(60, 300),
                windows(
                    at,
                    4624,
                    host,
                    "An account was successfully logged on.",
                    {"TargetUserName": who, "LogonType": "3", "IpAddress": site.address(12)},
                ),
            )
        )
        lines.append(
            (
                at := clock.after(1, 20),
                windows(
                    at,
                    5145,
                    host,
                    "A network share object was checked.",
                    {"SubjectUserName": who, "ShareName": r"\\*\logs$"},
                ),
            )
        )
    for _ in range(2):
        lines += windows_noise(site, clock, host, draw)
    return Story(
        lines,
        "T1070.001",
        "Security",
        {"source": site.outside[0] if attack else site.address(12), "user": who, "target": host, "count": "1"},
    )


ATTACKS = {
    "password-spray": spray,
    "lateral-movement": lateral_movement,
    "kerberoasting": kerberoasting,
    "log-clearing": log_clearing,
}
