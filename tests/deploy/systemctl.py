#!/usr/bin/python3
"""Stands in for systemctl on a machine without systemd, for one simple unit of Type=notify.

What the document's commands rely on is done as systemd does it: the unit file is read again at
daemon-reload only, credentials are handed over, `start` ends with READY=1, `stop` waits.
"""

import os
import pathlib
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

UNITS = pathlib.Path("/etc/systemd/system")
RUN = pathlib.Path("/run/systemctl-stand-in")
SECONDS = 60


def settings(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    files = [RUN / f"{name}.service", *sorted(RUN.glob(f"{name}.*.conf"))]
    for line in "\n".join(file.read_text() for file in files).splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def pid_of(name: str) -> int | None:
    try:
        pid = int((RUN / f"{name}.pid").read_text())
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return None
    return None if state == "Z" else pid


def daemon_reload() -> None:
    RUN.mkdir(exist_ok=True)
    for old in (*RUN.glob("*.service"), *RUN.glob("*.conf")):
        old.unlink()
    for unit in UNITS.glob("ingestd.service"):
        shutil.copy(unit, RUN)
    for more in UNITS.glob("ingestd.service.d/*.conf"):
        shutil.copy(more, RUN / f"ingestd.{more.name}")


def start(name: str) -> None:
    unit = settings(name)
    user = pwd.getpwnam(unit["User"][0])
    credentials = RUN / "credentials" / name
    shutil.rmtree(credentials, ignore_errors=True)
    credentials.mkdir(parents=True)
    for one in unit["LoadCredential"]:
        key, _, path = one.partition(":")
        shutil.copy(path, credentials / key)
        os.chown(credentials / key, user.pw_uid, user.pw_gid)
        (credentials / key).chmod(0o400)
    state = pathlib.Path("/var/lib") / unit["StateDirectory"][0]
    state.mkdir(exist_ok=True)
    os.chown(state, user.pw_uid, user.pw_gid)
    state.chmod(int(unit["StateDirectoryMode"][0], 8))
    address = RUN / f"{name}.notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, open(f"/var/log/{name}.log", "ab") as log:
        sock.bind(str(address))
        address.chmod(0o777)
        os.umask(int(unit["UMask"][0], 8))
        identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        powers = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        process = subprocess.Popen(
            ["setpriv", *identity, *powers, "--", *shlex.split(unit["ExecStart"][0])],
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "CREDENTIALS_DIRECTORY": str(credentials),
                "NOTIFY_SOCKET": str(address),
            },
            cwd=unit["WorkingDirectory"][0],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        (RUN / f"{name}.pid").write_text(str(process.pid))
        sock.settimeout(SECONDS)
        while b"READY=1" not in sock.recv(4096):
            pass


def stop(name: str) -> None:
    pid = pid_of(name)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + SECONDS
    while pid_of(name) is not None:
        if time.monotonic() > deadline:
            sys.exit(f"{name} did not stop")
        time.sleep(0.05)


def main(words: list[str]) -> None:
    verb, *names = [word for word in words if not word.startswith("-")]
    name = (names or [""])[0]
    if verb == "daemon-reload":
        daemon_reload()
    elif verb == "start" or (verb == "enable" and "--now" in words):
        start(name)
    elif verb == "restart":
        stop(name)
        start(name)
    elif verb == "stop" or (verb == "disable" and "--now" in words):
        stop(name)
    elif verb == "reload":
        command = settings(name)["ExecReload"][0].replace("$MAINPID", str(pid_of(name)))
        subprocess.run(shlex.split(command), check=True)
    elif verb == "is-active":
        active = pid_of(name) is not None
        print("active" if active else "inactive")
        sys.exit(0 if active else 3)
    else:
        sys.exit(f"not played here: {words}")


if __name__ == "__main__":
    main(sys.argv[1:])
