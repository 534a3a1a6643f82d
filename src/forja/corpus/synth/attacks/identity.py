"""What sign-in services and clouds log of intrusions, and of people and jobs that look like them."""

from __future__ import annotations

from forja.corpus.synth.grammar import Draw, between, pick, sample
from forja.corpus.synth.logs import cloud, jsonl, openvpn
from forja.corpus.synth.names import public_address
from forja.corpus.synth.site import Clock, Line, Site, Story


def impossible_travel(site: Site, draw: Draw, attack: bool) -> Story:
    """One account in two places within minutes; or a traveller, hours apart. Sign-in log and VPN."""
    clock = Clock(site.start, draw)
    user = site.people[0].mail
    first, second = sample(("PT", "CA", "KE", "JP", "EE", "PE", "NZ", "ZA", "IE", "CL"), 2, draw)
    lines: list[Line] = []

    def sign_in(country: str, address: str, low: float, high: float, *, who: str = "", device: str = "known") -> None:
        at = clock.after(low, high)
        fields: dict[str, object] = {
            "event": "signin",
            "user": who or user,
            "ip": address,
            "country": country,
            "result": "success",
            "mfa": pick(("push", "fido2", "totp"), draw) if device == "known" else pick(("none", "sms", "push"), draw),
        }
        if draw() < 0.6:
            fields["device"] = device
        if draw() < 0.5:
            fields["app"] = pick(("mail", "files", "vpn", "crm"), draw)
        lines.append((at, jsonl(at, fields)))

    def noise() -> None:
        for _ in range(between(0, 3, draw)):
            sign_in(first, public_address(draw), 5, 400, who=pick(site.people[1:], draw).mail)

    noise()
    sign_in(first, site.home, 1, 90)
    if draw() < 0.5:
        at, peer = clock.after(2, 30), f"{site.home}:{between(30000, 60000, draw)}"
        lines.append(
            (
                at,
                openvpn(
                    at,
                    f"{peer} [{site.user}] Peer Connection Initiated with [AF_INET]{peer}",
                ),
            )
        )
    noise()
    gap = between(4, 50, draw) if attack else between(780, 1500, draw)
    sign_in(second, site.outside[0], gap * 60, gap * 60 + 50, device="new" if attack else "known")
    if attack:
        for action in sample(
            (
                "inbox_rule_created",
                "mfa_method_added",
                "file_download",
                "mail_forwarding_enabled",
                "password_changed",
                "consent_granted",
            ),
            between(1, 3, draw),
            draw,
        ):
            at = clock.after(20, 300)
            lines.append((at, jsonl(at, {"event": action, "user": user, "ip": site.outside[0], "result": "success"})))
    noise()
    return Story(
        lines,
        "T1078",
        "sign-in log",
        {"source": site.outside[0], "user": user, "target": f"{first} and {second}", "count": str(gap)},
    )


def push_fatigue(site: Site, draw: Draw, attack: bool) -> Story:
    """Prompt after prompt until one is accepted; or one prompt for one sign-in."""
    clock = Clock(site.night if attack else site.start, draw)
    user, source = site.people[0].mail, site.outside[0] if attack else site.home
    lines: list[Line] = []
    count = between(5, 11, draw) if attack else between(1, 2, draw)
    accepted = draw() < 0.6

    def event(what: str, result: str, low: float, high: float, who: str = user, address: str = source) -> None:
        at = clock.after(low, high)
        lines.append((at, jsonl(at, {"event": what, "user": who, "ip": address, "result": result})))

    for place in range(count):
        event("password_check", "success", 5, 70)
        last = place == count - 1
        event(
            "mfa_push",
            ("approved" if not attack or accepted else "denied")
            if last
            else pick(("denied", "timeout"), draw)
            if attack
            else "timeout",
            8,
            40,
        )
        if draw() < 0.3:
            event(
                pick(("signin", "token_refresh", "signout"), draw),
                "success",
                1,
                60,
                pick(site.people[1:], draw).mail,
                site.address(between(20, 250, draw)),
            )
    if attack and accepted:
        event("mfa_method_added", "success", 20, 200)
    if attack and not accepted and draw() < 0.6:
        event("user_report", "fraud_reported", 10, 200)
    if not attack:
        for _ in range(between(2, 6, draw)):
            event(
                pick(("signin", "token_refresh", "file_open", "calendar_read"), draw),
                "success",
                5,
                400,
                pick(site.people, draw).mail,
                site.address(between(20, 250, draw)),
            )
    return Story(
        lines,
        "T1621",
        "identity provider log",
        {
            "source": source,
            "user": user,
            "count": str(count),
            "outcome": "one was approved" if accepted else "none was approved",
        },
    )


def cloud_keys(site: Site, draw: Draw, attack: bool) -> Story:
    """A stolen key looks round, makes a second one and stops the recording; or a pipeline rotates keys."""
    clock = Clock(site.night if attack else site.start, draw)
    who = site.service if attack else "pipeline-rotate"
    user = {
        "type": "IAMUser" if attack else "AssumedRole",
        "userName": who,
        "accountId": f"{between(10**11, 10**12 - 1, draw)}",
    }
    source = site.outside[0] if attack else site.address(12)
    looking: list[tuple[str, str, dict[str, object]]] = [
        ("GetCallerIdentity", "sts.amazonaws.com", {}),
        ("ListBuckets", "s3.amazonaws.com", {}),
        ("ListUsers", "iam.amazonaws.com", {}),
        ("DescribeInstances", "ec2.amazonaws.com", {"requestParameters": {"maxResults": 100}}),
        ("GetAccountAuthorizationDetails", "iam.amazonaws.com", {"errorCode": "AccessDenied"}),
        ("ListSecrets", "secretsmanager.amazonaws.com", {"errorCode": "AccessDenied"}),
    ]
    acting: list[tuple[str, str, dict[str, object]]] = [
        ("CreateAccessKey", "iam.amazonaws.com", {"requestParameters": {"userName": site.admin}}),
        ("StopLogging", "cloudtrail.amazonaws.com", {"requestParameters": {"name": "org-trail"}}),
        (
            "AttachUserPolicy",
            "iam.amazonaws.com",
            {"requestParameters": {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess", "userName": who}},
        ),
        (
            "RunInstances",
            "ec2.amazonaws.com",
            {"requestParameters": {"instanceType": "p4d.24xlarge", "minCount": 8}, "awsRegion": "ap-south-1"},
        ),
        (
            "PutBucketPolicy",
            "s3.amazonaws.com",
            {"requestParameters": {"bucketName": f"{site.firm.word.lower()}-archive", "Principal": "*"}},
        ),
        (
            "GetObject",
            "s3.amazonaws.com",
            {"requestParameters": {"bucketName": f"{site.firm.word.lower()}-hr", "key": "salaries.parquet"}},
        ),
    ]
    rotating: list[tuple[str, str, dict[str, object]]] = [
        ("AssumeRole", "sts.amazonaws.com", {"requestParameters": {"roleSessionName": "rotate"}}),
        ("ListAccessKeys", "iam.amazonaws.com", {}),
        ("CreateAccessKey", "iam.amazonaws.com", {"requestParameters": {"userName": site.service}}),
        ("PutSecretValue", "secretsmanager.amazonaws.com", {"requestParameters": {"secretId": f"{site.service}/key"}}),
        (
            "UpdateAccessKey",
            "iam.amazonaws.com",
            {"requestParameters": {"status": "Inactive", "userName": site.service}},
        ),
        ("DeleteAccessKey", "iam.amazonaws.com", {"requestParameters": {"userName": site.service}}),
        ("GetAccessKeyLastUsed", "iam.amazonaws.com", {}),
    ]
    if attack:
        events = sample(looking, between(2, 4, draw), draw) + sample(acting, between(2, 4, draw), draw)
    else:
        events = [event for event in rotating if draw() < 0.85]
    lines = []
    for name, service, extra in events:
        at = clock.after(1, 40)
        agent: dict[str, object] = (
            {"userAgent": pick(("aws-cli/2.13.5", "Boto3/1.28.10", "python-requests/2.31.0"), draw)}
            if draw() < 0.5
            else {}
        )
        lines.append((at, cloud(at, name, service, user, source, agent | extra)))
        if draw() < 0.2:
            at = clock.after(1, 30)
            lines.append(
                (
                    at,
                    cloud(
                        at,
                        pick(("GetMetricData", "DescribeAlarms", "PutObject", "Decrypt"), draw),
                        "monitoring.amazonaws.com",
                        {"type": "AWSService", "userName": "ops"},
                        site.address(10),
                        {"readOnly": True},
                    ),
                )
            )
    return Story(
        lines,
        "T1098.001" if attack else "T1078.004",
        "cloud audit trail",
        {
            "source": source,
            "user": who,
            "target": site.admin,
            "count": str(len(events)),
            "tool": ", ".join(event[0] for event in events[-2:]),
        },
    )


ATTACKS = {
    "impossible-travel": impossible_travel,
    "push-fatigue": push_fatigue,
    "cloud-key-theft": cloud_keys,
}
